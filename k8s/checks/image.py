"""The image's files, assembled without Docker, and run as the manifest says."""

import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

from .renderings import HERE, documents
from .relations import is_worker

ROOTFS = HERE / "image/rootfs"
CONTAIN = HERE / "image/contain.py"
SBOM = HERE / "image/sbom"
# A debug build on a busy machine.
START_S = 60
# Instead of a cluster: a store of its own, and nobody but this machine.
ALONE = {
    "LEASEHOLD_STORE": "sqlite",
    "LEASEHOLD_INSECURE_NO_AUTH": "true",
    # Nobody listens there; a simulation build refuses any other machine.
    "LEASEHOLD_WHATSAPP_URL": "ws://127.0.0.1:9/ws/chat",
}
WRITABLE = "/var/lib/leasehold"


def run(report, program, rendered):
    """All checks of one program."""
    if os.geteuid() != 0:
        print("  --    not run: the image's program needs root to be contained (use sudo)")
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        first, second = folder / "first", folder / "second"
        for root in (first, second):
            subprocess.run([ROOTFS, program, root], check=True)
        digest, size, files = measure(first)
        print(f"  {program}: {size / 2**20:.1f} MiB in {files} files, sha256:{digest[:16]}…")
        same = [] if measure(second)[0] == digest else ["two assemblies differ"]
        report.check("the same program gives the same files", same)
        report.check("nothing in it is a shell, or anybody's but root's", contents(first))
        report.check(
            "it runs as nobody, on a root that cannot be written, and answers",
            contained(program, first, folder, rendered),
        )
    report.check("the bill of materials is whole", bill_of_materials())


def measure(root):
    """Digest, bytes and number of the files: names, modes, owners, times, contents."""
    digest, size, files = hashlib.sha256(), 0, 0
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        about = [str(path.relative_to(root)), status.st_mode, status.st_uid, int(status.st_mtime)]
        digest.update(json.dumps(about).encode())
        if path.is_file():
            digest.update(path.read_bytes())
            size += status.st_size
            files += 1
    return digest.hexdigest(), size, files


def contents(root):
    programs = [path.name for path in (root / "usr/local/bin").iterdir()]
    if programs != ["worker"]:
        yield f"programs: {programs}"
    for path in root.rglob("*"):
        name, status = f"/{path.relative_to(root)}", path.lstat()
        if status.st_mode & 0o6000:
            yield f"{name} is setuid"
        if status.st_uid != 0 and name != WRITABLE:
            yield f"{name} belongs to {status.st_uid}"


def environment(rendered):
    """The manifest's variables, as far as they make sense alone."""
    worker = next(filter(is_worker, documents(rendered)))
    variables = worker["spec"]["template"]["spec"]["containers"][0]["env"]
    given = {variable["name"]: variable["value"] for variable in variables if "value" in variable}
    return given | ALONE | {"WORKER_ID": "contained"}


def contained(program, root, folder, rendered):
    """Starts it, asks it, looks at it, ends it."""
    subprocess.run(
        [program, "keys", "generate", "--key-ring", folder / "ring.json", "--data-dir", folder / "d"],
        check=True,
        capture_output=True,
    )
    command = [sys.executable, "-B", CONTAIN, root, folder / "ring.json", "/usr/local/bin/worker"]
    variables = environment(rendered)
    with open(folder / "log", "w+b") as log:
        started = subprocess.Popen(
            command, env={**variables, "PATH": os.environ["PATH"]}, stdout=log, stderr=log
        )
        try:
            yield from looked_at(started)
        finally:
            worker = child_of(started.pid)
            if worker:
                os.kill(worker, signal.SIGTERM)
            try:
                code = started.wait(timeout=START_S)
            except subprocess.TimeoutExpired:
                started.kill()
                code = "none: it did not end"
        if code != 0:
            log.seek(0)
            yield f"exit code {code}: {log.read().decode(errors='replace')[-600:]}"


def looked_at(started):
    answer = None
    deadline = time.monotonic() + START_S
    while answer is None:
        worker = child_of(started.pid)
        if started.poll() is not None or time.monotonic() > deadline:
            yield "it does not start"
            return
        answer = worker and asked(worker, "/health")
        time.sleep(0.1)
    health = json.loads(answer)
    if health["status"] != "healthy":
        yield f"/health: {health['status']}"
    for path in ("/livez", "/readyz"):
        if asked(worker, path) is None:
            yield f"{path} is no 200"
    status = pathlib.Path(f"/proc/{worker}/status").read_text()
    for name, wanted in [("Uid", "65532"), ("CapEff", "0" * 16), ("CapPrm", "0" * 16), ("NoNewPrivs", "1")]:
        found = re.search(rf"^{name}:\s*(\S+)", status, re.MULTILINE)[1]
        if found != wanted:
            yield f"{name} is {found}"
    for place, is_writable in [("/", False), ("/etc", False), ("/tmp", False), (WRITABLE, True)]:
        # By this process, as root, so that nothing but the mount is in the way.
        target = pathlib.Path(f"/proc/{worker}/root{place}/written")
        try:
            target.write_text("x")
            was_written = True
            target.unlink()
        except OSError:
            was_written = False
        if was_written != is_writable:
            yield f"{place} can{'' if was_written else 'not'} be written"


def asked(worker, path):
    """A 200's body, asked from within the worker's network; else None."""
    script = (
        "import sys,urllib.request as u;"
        "sys.stdout.buffer.write(u.urlopen('http://127.0.0.1:8080'+sys.argv[1],timeout=5).read())"
    )
    command = ["nsenter", f"--net=/proc/{worker}/ns/net", sys.executable, "-c", script, path]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def child_of(parent):
    """The one child of a process, if it has become the worker."""
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            # It ended meanwhile.
            continue
        is_child = re.search(rf"^PPid:\s*{parent}$", text, re.MULTILINE)
        if is_child and text.startswith("Name:\tworker\n"):
            return int(status.parent.name)
    return None


def bill_of_materials():
    texts = [
        subprocess.run([SBOM], check=True, capture_output=True, text=True).stdout for _ in range(2)
    ]
    if texts[0] != texts[1]:
        yield "two of them differ"
    bill = json.loads(texts[0])
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(texts[0])
    if error:
        yield f"CycloneDX 1.6: {str(error)[:300]}"
    names = {component["name"] for component in bill["components"]}
    for needed in ("tokio", "whatsapp-rust", "rusqlite", "x25519-dalek", "coordinator-lib"):
        if needed not in names:
            yield f"{needed} is missing"
    without = [c["name"] for c in bill["components"] if "licenses" not in c]
    if without:
        yield f"no licence: {without}"
    for test_only in ("wa-sim", "proptest", "stateright"):
        if test_only in names:
            yield f"{test_only} is not in the worker"
    print(f"  {len(names)} crates in the bill of materials")
