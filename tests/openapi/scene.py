"""A running cluster: the simulated WhatsApp, two workers on one SQLite file,
and one of everything that the API is about. Ends with the program."""

import contextlib
import json
import pathlib
import subprocess
import tempfile
import time

import requests

# Real processes on a busy machine.
LIMIT_SECONDS = 120
CONTACT, OTHER = "4915100000001", "4915100000002"
# Nobody listens there.
RECEIVER = "http://127.0.0.1:9/events"
OWNERS = {"sales": "4915100000011", "quiet": "4915100000012", "gone": "4915100000014"}


def until(what, look):
    """Asks again and again until there is an answer."""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"{what}: not within {LIMIT_SECONDS} s")


def first_line(process):
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args[0]} ended before it was ready")
    return json.loads(line)


class Client:
    """Asks one worker, or the simulated WhatsApp."""

    def __init__(self, base, key=None):
        self.base = base
        self.headers = {"X-Api-Key": key} if key else {}

    def ask(self, method, path, body=None):
        answer = requests.request(
            method, self.base + path, json=body, headers=self.headers, timeout=LIMIT_SECONDS
        )
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else {}

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, body=None):
        return self.ask("POST", path, body)


def until_status(api, account, status):
    look = lambda: api.get(f"/v1/accounts/{account}")["status"] == status
    until(f"an account is {status}", look)


def link(api, phones, name):
    """Creates an account, and has its phone scan the code."""
    account = api.post("/v1/accounts", {"name": name})["id"]
    until_status(api, account, "qr_ready")
    code = api.get(f"/v1/accounts/{account}/qr")["qr"]
    phones.post(f"/phones/{OWNERS[name]}/scan", {"qr": code})
    until_status(api, account, "connected")
    return account


def prepare(api, phones):
    """Makes what the requests are about, and says what it is."""
    for number in [CONTACT, OTHER, *OWNERS.values()]:
        phones.post("/phones", {"number": number, "name": f"Phone {number[-2:]}"})
    account, quiet = link(api, phones, "sales"), link(api, phones, "quiet")
    phones.post(f"/phones/{CONTACT}/messages", {"to": OWNERS["sales"], "text": "hello"})
    threads = f"/v1/accounts/{account}/threads"
    thread = until("a thread", lambda: api.get(threads)["threads"])[0]["id"]
    message = api.get(f"/v1/threads/{thread}/messages")["messages"][0]["id"]
    sent = api.post(f"/v1/accounts/{account}/messages", {"to": CONTACT, "text": "hello, too"})
    group = {"subject": "talk", "people": [CONTACT]}
    kept = api.post(f"/v1/accounts/{account}/groups", group)["id"]
    left = api.post(f"/v1/accounts/{account}/groups", group)["id"]
    foreign = api.post(f"/v1/accounts/{quiet}/groups", group)["id"]
    invitation = api.get(f"/v1/groups/{foreign}/invitation")["link"]
    until("the groups are kept", lambda: len(api.get(f"/v1/accounts/{account}/groups")["groups"]) == 2)
    api.post(f"/v1/accounts/{quiet}/stop")
    until_status(api, quiet, "stopped")
    gone = link(api, phones, "gone")
    api.post(f"/v1/accounts/{gone}/logout")
    until_status(api, gone, "logged_out")
    # Linked anew, it puts the old session away.
    api.post(f"/v1/accounts/{gone}/start")
    archives = lambda: api.get(f"/v1/accounts/{gone}/archives")["archives"]
    archive = {"id": gone, "epoch": until("a session is archived", archives)[0]["epoch"]}
    spare = {"id": api.post("/v1/accounts", {"name": "spare"})["id"]}
    webhook = api.post("/v1/webhooks", {"url": RECEIVER})["id"]
    waiting = {"id": api.post("/v1/accounts", {"name": "waiting"})["id"]}
    until_status(api, waiting["id"], "qr_ready")
    return {
        "contact": CONTACT,
        "other": OTHER,
        "pairing": "+4915100000013",
        "quiet": quiet,
        "receiver": RECEIVER,
        "invitation": invitation,
        "ids": {
            "account": account,
            "thread": thread,
            "message": message,
            "group": kept,
            "outgoing": sent["messageId"],
            "webhook": webhook,
            "delivery": "none",
            # Nobody: whoever is on the list is not written to.
            "address": "4915199999999",
        },
        # What changes an account is done to others.
        "paths": {
            "changeAccount": spare,
            "startAccount": spare,
            "stopAccount": spare,
            "restartAccount": spare,
            "logOutAccount": spare,
            "releaseAccount": waiting,
            "readQrCode": waiting,
            "makePairingCode": waiting,
            "leaveGroup": {"id": left},
            "listArchives": {"id": gone},
            "eraseArchive": archive,
        },
    }


@contextlib.contextmanager
def cluster(binaries):
    """Yields the scene; the first key is made last, and then all need one."""
    binaries = pathlib.Path(binaries)
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openapi-")))

        def start(*arguments, log):
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=open(folder / log, "wb"),
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return first_line(process)

        def worker(name):
            line = start(
                binaries / "worker-sim", "serve", "--worker-id", name,
                "--data-dir", folder / "data", "--listen", "127.0.0.1:0",
                "--whatsapp-url", sim["url"], "--whatsapp-media-url", sim["admin"],
                "--api-rate", "0", "--webhook-allow-private", "--log-format", "json", log=f"{name}.log",
            )
            return f"http://{line['addr']}"

        sim = start(binaries / "wa-sim", log="wa-sim.log")
        bases = [worker("alice"), worker("bob")]
        api = Client(bases[0])
        until("two workers", lambda: len(api.get("/v1/workers")["workers"]) == 2)
        scene = prepare(api, Client(sim["admin"]))
        key = api.post("/v1/keys", {"name": "test", "scopes": ["admin"]})["key"]
        spare = Client(bases[0], key).post("/v1/keys", {"name": "spare", "scopes": ["read"]})
        scene["ids"]["apiKey"] = spare["id"]
        is_guarded = lambda: requests.get(bases[1] + "/v1/accounts", timeout=30).status_code == 401
        until("the other worker asks for keys", is_guarded)
        yield {**scene, "bases": bases, "key": key, "folder": str(folder)}
