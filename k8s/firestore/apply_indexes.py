#!/usr/bin/env python3
"""Brings a Firestore database's indexes to what `firestore.indexes.json` says.

Creates the composite indexes that are missing and sets the indexes of single
fields. What is as it should be is left alone, so it may be run any number of
times; indexes that the file does not name stay.

    apply_indexes.py [--wait] [--dry-run] FILE

The project is GOOGLE_CLOUD_PROJECT, the database LEASEHOLD_FIRESTORE_DATABASE or
`(default)`. Credentials: GOOGLE_OAUTH_ACCESS_TOKEN (for example from
`gcloud auth print-access-token`), else the metadata server of Google's cloud.
Needs Python 3.9 and nothing else.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

API = "https://firestore.googleapis.com/v1/"
METADATA = (
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
)
# A request that takes longer is given up, and tried again.
REQUEST_SECONDS = 30
ATTEMPTS = 6
# Between two looks at indexes that are being built.
LOOK_SECONDS = 5


class Failed(Exception):
    """What went wrong, in one line."""


class Firestore:
    """The admin API of one database."""

    def __init__(self, api, project, database, token):
        self.root = f"{api}projects/{project}/databases/{urllib.parse.quote(database)}/"
        self.token = token

    def call(self, method, path, body=None):
        """One request; repeated where the service is busy.

        Returns the answer, or None where there is already what was to be made.
        """
        request = urllib.request.Request(
            self.root + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        wait = 1.0
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                text = error.read(4096).decode(errors="replace")
                if error.code == 409:
                    return None
                is_busy = error.code == 429 or error.code >= 500
                problem = f"{method} {path}: {error.code} {text}"
            except (urllib.error.URLError, TimeoutError) as error:
                is_busy, problem = True, f"{method} {path}: {error}"
            if not is_busy or attempt == ATTEMPTS:
                raise Failed(problem)
            time.sleep(wait)
            wait *= 2
        raise AssertionError("the last attempt returns or raises")

    def composite_indexes(self, group):
        """The composite indexes of a collection group that there are."""
        found, page = [], ""
        while True:
            query = urllib.parse.urlencode({"pageSize": 100, "pageToken": page})
            answer = self.call("GET", f"collectionGroups/{group}/indexes?{query}")
            found += answer.get("indexes", [])
            page = answer.get("nextPageToken", "")
            if not page:
                return found

    def create(self, index):
        body = {"queryScope": index["queryScope"], "fields": index["fields"]}
        self.call("POST", f"collectionGroups/{index['collectionGroup']}/indexes", body)

    def field(self, override):
        return self.call("GET", field_path(override))

    def set_field(self, override):
        body = {"indexConfig": {"indexes": field_indexes(override)}}
        self.call("PATCH", field_path(override) + "?updateMask=indexConfig", body)


def field_path(override):
    field = urllib.parse.quote(override["fieldPath"])
    return f"collectionGroups/{override['collectionGroup']}/fields/{field}"


def field_indexes(override):
    """The file's single-field indexes as the API has them."""
    return [
        {
            "queryScope": index["queryScope"],
            "fields": [
                {key: value for key, value in index.items() if key != "queryScope"}
                | {"fieldPath": override["fieldPath"]}
            ],
        }
        for index in override["indexes"]
    ]


def shape(index):
    """What makes two indexes the same: scope and fields in their order.

    The service adds the document's name as a last field of its own.
    """
    fields = tuple(
        (field["fieldPath"], field.get("order"), field.get("arrayConfig"))
        for field in index["fields"]
        if field["fieldPath"] != "__name__"
    )
    return index["queryScope"], fields


def missing_indexes(firestore, wanted):
    """The composite indexes that are not there, in the file's order."""
    groups = dict.fromkeys(index["collectionGroup"] for index in wanted)
    there = {
        (group, shape(index)) for group in groups for index in firestore.composite_indexes(group)
    }
    return [index for index in wanted if (index["collectionGroup"], shape(index)) not in there]


def changed_fields(firestore, wanted):
    """The fields whose own indexes are not as the file says."""
    changed = []
    for override in wanted:
        config = firestore.field(override).get("indexConfig", {})
        is_own = not config.get("usesAncestorConfig", False)
        there = {shape(index) for index in config.get("indexes", [])}
        if not is_own or there != {shape(index) for index in field_indexes(override)}:
            changed.append(override)
    return changed


def being_built(firestore, wanted):
    """How many of the file's composite indexes cannot be used yet."""
    groups = dict.fromkeys(index["collectionGroup"] for index in wanted)
    ready = {
        (group, shape(index))
        for group in groups
        for index in firestore.composite_indexes(group)
        if index.get("state") == "READY"
    }
    return sum((index["collectionGroup"], shape(index)) not in ready for index in wanted)


def access_token():
    given = os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN")
    if given:
        return given
    request = urllib.request.Request(METADATA, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:
            return json.load(answer)["access_token"]
    except (urllib.error.URLError, TimeoutError) as error:
        raise Failed(
            f"no credentials: the metadata server does not answer ({error}); set"
            " GOOGLE_OAUTH_ACCESS_TOKEN to what `gcloud auth print-access-token` prints"
        ) from error


def run(arguments):
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        raise Failed("GOOGLE_CLOUD_PROJECT is not set: it names the project of the database")
    database = os.environ.get("LEASEHOLD_FIRESTORE_DATABASE", "(default)")
    with open(arguments.file, encoding="utf-8") as file:
        wanted = json.load(file)
    firestore = Firestore(arguments.api, project, database, access_token())

    missing = missing_indexes(firestore, wanted["indexes"])
    changed = changed_fields(firestore, wanted["fieldOverrides"])
    for index in missing:
        print("index", index["collectionGroup"], *(field["fieldPath"] for field in index["fields"]))
        if not arguments.dry_run:
            firestore.create(index)
    for override in changed:
        print("field", override["collectionGroup"], override["fieldPath"])
        if not arguments.dry_run:
            firestore.set_field(override)
    kept = len(wanted["indexes"]) + len(wanted["fieldOverrides"]) - len(missing) - len(changed)
    print(f"{len(missing)} indexes and {len(changed)} fields changed, {kept} were as they should be")

    while arguments.wait and not arguments.dry_run:
        left = being_built(firestore, wanted["indexes"])
        if not left:
            return
        print(f"{left} indexes are being built", flush=True)
        time.sleep(arguments.look_seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="firestore.indexes.json")
    parser.add_argument("--wait", action="store_true", help="until all indexes can be used")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be changed")
    parser.add_argument("--api", default=API, help=argparse.SUPPRESS)
    parser.add_argument("--look-seconds", type=float, default=LOOK_SECONDS, help=argparse.SUPPRESS)
    try:
        run(parser.parse_args())
    except Failed as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
