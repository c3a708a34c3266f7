"""Asks a running cluster everything that its description allows, and more.

`conformance.py BINARIES EXAMPLES` starts the cluster (`scene.py`) and sends, for
every operation of `/openapi.json`,

- a recipe: one request that must succeed, so that no description goes unused;
- what the description allows, with ids that exist and with ids that do not;
- what it does not allow;
- the same without a key.

Then a client that was made from the description and compiled is run, if
`CLIENT` names it. Every answer is held against the description: status, media type, headers,
schema. No answer may be a server's error, but for what WhatsApp refuses.
Prints the counts, and ends with 1 if anything was found.
"""

import collections
import itertools
import os
import subprocess
import sys
import time

import hypothesis
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as openapi_checks

from scene import cluster

CONFORMANCE = [
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]

# Answers that are a server's error by their number, and no fault: WhatsApp
# (here, the simulated one) says no to what makes no sense, and an account that
# was handed to the other worker meanwhile has nobody to answer. Only operations
# that an owner carries out may answer so: the description says which.
OF_OTHERS = {"refused_by_whatsapp", "owner_silent"}

# Operations without a success here, and why.
WITHOUT_SUCCESS = {
    "readPasskeyStep": "nothing that plays WhatsApp asks for a passkey",
    "answerPasskeyStep": "nothing that plays WhatsApp asks for a passkey",
    "downloadFile": "the phones of this scene send no files: integration::media does",
    "followEventsBySocket": "begins with 101, not with an answer: integration::events does",
    "replayDelivery": "no delivery has come to its end here: integration::webhooks does",
    "importSession": "takes a whole session of Baileys: integration::moving does",
}


class Run:
    def __init__(self, scene):
        self.scene = scene
        self.bases = itertools.cycle(scene["bases"])
        self.session = requests.Session()
        self.counts = collections.defaultdict(collections.Counter)
        self.findings = {}
        document = requests.get(scene["bases"][0] + "/openapi.json", timeout=30).json()
        self.schema = schemathesis.openapi.from_dict(document)
        self.operations = {
            found.ok().definition.raw["operationId"]: found.ok()
            for found in self.schema.get_all_operations()
        }

    def note(self, operation_id, what, case, response=None):
        """Keeps one example of each finding."""
        key = (operation_id, what.split("\n")[0][:120])
        if key in self.findings:
            return
        answer = "" if response is None else f"{response.status_code} {response.text[:300]}"
        body = repr(case.body)[:300]
        self.findings[key] = (
            f"{case.method} {case.formatted_path} query={case.query} body={body}\n    "
            f"{what[:600]}\n    {answer}"
        )

    def ask(self, operation_id, case, kind, key=True, extra=()):
        headers = {"X-Api-Key": self.scene["key"]} if key else {}
        # Nobody is to be asked with a generated key.
        case.headers = {
            name: value
            for name, value in (case.headers or {}).items()
            if name.lower() not in ("x-api-key", "authorization")
        }
        if operation_id == "followEvents":
            # A page: a stream has no end.
            headers["Accept"] = "application/json"
        # A sign-in of the dashboard would be a key.
        self.session.cookies.clear()
        try:
            response = case.call(
                base_url=next(self.bases), session=self.session, headers=headers, timeout=60
            )
        except (requests.RequestException, ValueError, UnicodeError) as error:
            # What no HTTP client can send is not the server's fault.
            self.counts[operation_id]["unsendable"] += 1
            if isinstance(error, requests.ConnectionError):
                self.note(operation_id, f"no answer: {error}", case)
            return None
        counts = self.counts[operation_id]
        counts["requests"] += 1
        counts[f"{response.status_code // 100}xx"] += 1
        counts[kind] += 1
        checks = [*CONFORMANCE, *extra]
        code = self.code_of(response)
        if code in OF_OTHERS:
            counts[code] += 1
        else:
            checks.append(not_a_server_error)
        try:
            case.validate_response(response, checks=checks)
        except BaseException as failure:  # A group of failures is no Exception.
            if isinstance(failure, KeyboardInterrupt):
                raise
            for inner in getattr(failure, "exceptions", [failure]):
                what = f"{type(inner).__name__}: {inner}"
                self.note(operation_id, what, case, response)
        return response

    @staticmethod
    def code_of(response):
        try:
            return response.json().get("code")
        except (ValueError, AttributeError):
            return None

    def paths_of(self, operation_id):
        operation = self.operations[operation_id]
        own = self.scene["paths"].get(operation_id, {})
        values = {**self.scene["ids"], **own}
        names = [parameter.name for parameter in operation.path_parameters]
        values.setdefault("file", "app.css")
        if "id" in names and "id" not in own:
            values["id"] = values[self.kind_of(operation.path)]
        return {name: values[name] for name in names}

    @staticmethod
    def kind_of(path):
        for part, kind in [
            ("/accounts/", "account"),
            ("/groups/", "group"),
            ("/threads/", "thread"),
            ("/messages/", "outgoing"),
            ("/keys/", "apiKey"),
            ("/webhooks/", "webhook"),
        ]:
            if part in path:
                return kind
        return "account"

    def recipe(self, operation_id, **parts):
        operation = self.operations[operation_id]
        paths = {**self.paths_of(operation_id), **parts.pop("path_parameters", {})}
        case = operation.Case(path_parameters=paths, **parts)
        response = self.ask(operation_id, case, "recipe")
        if response is None or response.status_code >= 300:
            self.note(operation_id, "the recipe was refused", case, response)
            return {}
        return response.json() if response.content[:1] == b"{" else {}

    def fuzz(self, operation_id, examples):
        operation = self.operations[operation_id]
        paths = self.paths_of(operation_id)
        rules = [openapi_checks.negative_data_rejection]
        rounds = [
            ("allowed", GenerationMode.POSITIVE, paths or None, True, []),
            ("refused", GenerationMode.NEGATIVE, paths or None, True, rules),
            ("keyless", GenerationMode.POSITIVE, paths or None, False, []),
        ]
        if paths:
            rounds.append(("strange", GenerationMode.POSITIVE, None, True, []))
        for kind, mode, fixed, key, extra in rounds:
            share = examples if kind in ("allowed", "refused") else max(2, examples // 3)
            try:
                strategy = operation.as_strategy(generation_mode=mode, path_parameters=fixed)
            except Exception:
                # Nothing can be wrong with a request that takes nothing.
                continue
            self.draw(operation_id, strategy, kind, key, extra, share)

    def draw(self, operation_id, strategy, kind, key, extra, examples):
        @hypothesis.given(case=strategy)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def one(case):
            response = self.ask(operation_id, case, kind, key, extra)
            needs_key = self.operations[operation_id].definition.raw.get("security")
            if response is not None and not key and needs_key and response.status_code != 401:
                self.note(operation_id, "answered without a key", case, response)

        try:
            one()
        except hypothesis.errors.Unsatisfiable:
            self.counts[operation_id]["unsatisfiable"] += 1
        except Exception as error:
            if "not generate" not in str(error) and "negate" not in str(error).lower():
                raise
            self.counts[operation_id]["unsatisfiable"] += 1


def recipes(run):
    """One request for each operation that must succeed, in this order."""
    scene = run.scene
    contact, other = scene["contact"], scene["other"]
    as_json = {"media_type": "application/json"}
    for plain in [
        "dashboard", "readSignIn", "signOut", "referencePage", "describeApi", "readHealth", "readLiveness", "readReadiness",
        "listWorkers", "listAccounts", "readAccount", "readAccountHistory", "readQrCode",
        "inspectAccount", "listThreads", "listContacts", "listMessages", "readReceipts",
        "listGroups", "readGroup", "listKeys", "readKey", "listAudit", "listDoNotContact",
        "readOutgoingMessage", "markRead", "watchPresence", "readMetrics", "followEvents",
        "listWebhooks", "readWebhook", "testWebhook", "listDeliveries", "listOutgoingMessages",
        "listOutbox",
    ]:
        run.recipe(plain)
    run.recipe("dashboardFile", path_parameters={"file": "app.js"})
    run.recipe("signIn", body={"key": scene["key"]}, **as_json)
    run.recipe("readAccountHistory", query={"of": "status"})
    run.recipe("listOutbox", query={"state": "failed"})
    for form in ["png", "svg", "text"]:
        run.recipe("readQrCode", query={"format": form})
    made = run.recipe("createAccount", body={"name": "made"}, **as_json)
    run.recipe("changeAccount", body={"name": "changed"}, **as_json)
    spare = {"path_parameters": {"id": made.get("id", "none")}}
    for asked in ["startAccount", "stopAccount", "restartAccount", "logOutAccount"]:
        run.recipe(asked, **spare)
    run.recipe("purgeAccount", query={"confirm": made.get("id", "none")}, **spare)
    run.recipe("makePairingCode", body={"phone": scene["pairing"]}, **as_json)
    run.recipe("sendMessage", body={"to": contact, "text": "hello"}, **as_json)
    kept = run.recipe(
        "sendMessage",
        body={"to": contact, "text": "never sent"},
        path_parameters={"id": scene["quiet"]},
        **as_json,
    )
    run.recipe("cancelMessage", path_parameters={"id": kept.get("messageId", "none")})
    run.recipe("sendBroadcast", body={"to": [contact, other], "text": "all"}, **as_json)
    run.recipe("uploadFile", body=b"a file", media_type="text/plain")
    run.recipe("addDoNotContact", body={"note": "asked"}, **as_json)
    run.recipe("removeDoNotContact")
    run.recipe("changeThread", body={"archived": False}, **as_json)
    run.recipe("showTyping", body={"typing": True}, **as_json)
    run.recipe("createGroup", body={"subject": "made", "people": [contact]}, **as_json)
    run.recipe("changeGroup", body={"subject": "changed"}, **as_json)
    run.recipe("changeMembers", body={"change": "add", "people": [other]}, **as_json)
    run.recipe("readInvitation")
    run.recipe("renewInvitation")
    run.recipe("joinGroup", body={"invitation": scene["invitation"]}, **as_json)
    run.recipe("leaveGroup")
    key = run.recipe("createKey", body={"name": "made", "scopes": ["read"]}, **as_json)
    run.recipe("revokeKey", path_parameters={"id": key.get("id", "none")})
    hook = run.recipe("createWebhook", body={"url": scene["receiver"]}, **as_json)
    run.recipe("changeWebhook", body={"name": "changed"}, **as_json)
    run.recipe("rotateWebhookSecret", body={"overlapSeconds": 60}, **as_json)
    run.recipe("deleteWebhook", path_parameters={"id": hook.get("id", "none")})
    run.recipe("releaseAccount")
    run.recipe("listArchives")
    run.recipe("eraseArchive")
    run.recipe("exportSession", path_parameters={"id": scene["quiet"]})


def run_client(scene):
    """The typed client, with what it is to be told."""
    program = os.environ.get("CLIENT")
    if not program:
        return True
    return subprocess.run(["node", program, scene["bases"][0], scene["key"]]).returncode == 0


def main():
    with cluster(sys.argv[1]) as scene:
        found = hold(scene, int(sys.argv[2]))
        works = run_client(scene)
        print("typed client: " + ("works" if works else "FAILED"))
        return 0 if works and not found else 1


def hold(scene, examples):
    """Asks everything; yields the number of findings."""
    began = time.monotonic()
    run = Run(scene)
    recipes(run)
    for operation_id in run.operations:
        run.fuzz(operation_id, examples)

    total = collections.Counter()
    print(f"{'operation':22} requests   2xx   4xx   5xx")
    for operation_id, counts in run.counts.items():
        total.update(counts)
        numbers = [counts[name] for name in ("requests", "2xx", "4xx", "5xx")]
        print(f"{operation_id:22} {numbers[0]:8} {numbers[1]:5} {numbers[2]:5} {numbers[3]:5}")
        if counts["2xx"] == 0 and operation_id not in WITHOUT_SUCCESS:
            run.findings[(operation_id, "no success")] = "no request succeeded"
        if counts["2xx"] and operation_id in WITHOUT_SUCCESS:
            run.findings[(operation_id, "success")] = "succeeds: take it off the exceptions"
    kinds = ", ".join(f"{total[kind]} {kind}" for kind in
                      ("recipe", "allowed", "refused", "keyless", "strange"))
    print(f"\n{len(run.operations)} operations, {total['requests']} requests ({kinds}): "
          f"{total['2xx']} 2xx, {total['4xx']} 4xx, {total['5xx']} 5xx; "
          f"{total['unsendable']} could not be sent; {time.monotonic() - began:.0f} s")
    print("of the 5xx: " + ", ".join(f"{total[code]} {code}" for code in sorted(OF_OTHERS)))
    for operation_id, reason in WITHOUT_SUCCESS.items():
        print(f"no success expected of {operation_id}: {reason}")
    for (operation_id, what), example in run.findings.items():
        print(f"\nFOUND {operation_id}: {what}\n    {example}")
    print(f"{len(run.findings)} findings", flush=True)
    return len(run.findings)


if __name__ == "__main__":
    sys.exit(main())
