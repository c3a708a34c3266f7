"""The script that brings a database's indexes up to date, against a service that
is played: an empty database, then one that has everything, then one that is busy."""

import http.server
import json
import os
import subprocess
import sys
import threading

from .renderings import HERE

SCRIPT = HERE / "firestore/apply_indexes.py"
WANTED = HERE / "firestore/firestore.indexes.json"


class Played(http.server.BaseHTTPRequestHandler):
    """Firestore's admin API, as far as the script uses it."""

    def do_GET(self):
        if self.is_refused():
            return
        group, rest = self.place()
        if rest[0] == "indexes":
            indexes = self.server.indexes.get(group, [])
            # New ones are being built until they were seen once.
            self.answer(200, {"indexes": [dict(index) for index in indexes]})
            for index in indexes:
                index["state"] = "READY"
        else:
            inherited = {"indexConfig": {"usesAncestorConfig": True, "indexes": []}}
            self.answer(200, self.server.fields.get((group, rest[1]), inherited))

    def do_POST(self):
        if self.is_refused():
            return
        group, _ = self.place()
        body = self.body()
        body["fields"] = body["fields"] + [{"fieldPath": "__name__", "order": "ASCENDING"}]
        self.server.indexes.setdefault(group, []).append({**body, "state": "CREATING"})
        self.answer(200, {})

    def do_PATCH(self):
        if self.is_refused():
            return
        group, rest = self.place()
        self.server.fields[(group, rest[1])] = self.body()
        self.answer(200, {})

    def place(self):
        path = self.path.split("?")[0].split("/")
        at = path.index("collectionGroups")
        return path[at + 1], path[at + 2 :]

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def is_refused(self):
        if self.headers["Authorization"] != "Bearer played":
            self.answer(401, {})
            return True
        if self.server.busy > 0:
            self.server.busy -= 1
            self.answer(429, {})
            return True
        return False

    def answer(self, code, body):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def apply(port, token):
    env = {
        **os.environ,
        "GOOGLE_CLOUD_PROJECT": "played",
        "GOOGLE_OAUTH_ACCESS_TOKEN": token,
    }
    command = [sys.executable, "-B", SCRIPT, "--wait", "--look-seconds", "0"]
    command += ["--api", f"http://127.0.0.1:{port}/v1/", WANTED]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=60)


def problems():
    wanted = json.loads(WANTED.read_text())
    indexes, fields = len(wanted["indexes"]), len(wanted["fieldOverrides"])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Played)
    server.indexes, server.fields, server.busy = {}, {}, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port
    runs = [
        ("empty", 0, f"{indexes} indexes and {fields} fields changed, 0 were as they should be"),
        ("complete", 0, f"0 indexes and 0 fields changed, {indexes + fields} were as they should be"),
        ("busy", 1, f"0 indexes and 0 fields changed, {indexes + fields} were as they should be"),
    ]
    for name, busy, line in runs:
        server.busy = busy
        done = apply(port, "played")
        if done.returncode != 0 or line not in done.stdout.splitlines():
            yield f"{name}: {done.stdout[-300:]}{done.stderr[-300:]}"
    refused = apply(port, "another")
    if refused.returncode == 0 or "401" not in refused.stderr or "Traceback" in refused.stderr:
        yield f"a wrong token: {refused.stderr[-300:]}"
    server.shutdown()
    server.server_close()
