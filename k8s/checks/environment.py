"""The variables of the manifests, against the worker's own list of options.

That list is the table in worker/README.md, which a test of the worker compares
with the options themselves.
"""

import re

from .relations import pod_spec
from .renderings import HERE, documents, title

OPTIONS = HERE.parent / "worker/README.md"
GUIDE = HERE / "README.md"
BEGIN, END = "<!-- variables:begin -->", "<!-- variables:end -->"
# A row of the worker's table: option, variable, default, meaning.
ROW = re.compile(r"^\| .* \| `([A-Z_]+)` \| (.*) \| (.*) \|$", re.MULTILINE)


def options():
    """Default and meaning of each variable that the worker reads, as Markdown."""
    text = OPTIONS.read_text(encoding="utf-8")
    # What it is told of its pod is in a table of its own.
    table = text[text.index("<!-- config:begin -->") : text.index("<!-- resource:end -->")]
    return {name: (default, meaning) for name, default, meaning in ROW.findall(table)}


def is_ours(container):
    """Whether it runs the worker, or the Job beside it."""
    return "worker" in container["image"] or container["name"] == "indexes"


def problems(manifests):
    known = options()
    for manifest in manifests:
        pod = pod_spec(manifest)
        for container in pod.get("initContainers", []) + pod.get("containers", []):
            names = [variable["name"] for variable in container.get("env", [])]
            for name in names:
                if is_ours(container) and name not in known:
                    yield f"{title(manifest)}, {container['name']}: the worker knows no {name}"
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield f"{title(manifest)}, {container['name']}: {name} is set twice"


def table(renderings):
    """Markdown: what production sets, and what dev sets beside."""
    known = options()
    rows, seen = [], set()
    for overlay in ["production", "dev"]:
        for manifest in documents(renderings[overlay]):
            for container in pod_spec(manifest).get("containers", []):
                if container["name"] != "worker":
                    continue
                for variable in container["env"]:
                    name = variable["name"]
                    if name in seen:
                        continue
                    seen.add(name)
                    value = variable.get("value") or variable["valueFrom"]["fieldRef"]["fieldPath"]
                    default, meaning = known[name]
                    where = "" if overlay == "production" else " (dev)"
                    rows.append(f"| `{name}` | `{value}`{where} | {default} | {meaning} |")
    head = "| Variable | Set to | Default | Meaning |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def guide_problems(renderings):
    text = GUIDE.read_text(encoding="utf-8")
    if f"{BEGIN}\n\n{table(renderings)}\n{END}" not in text:
        yield "the table of variables in k8s/README.md is not up to date: k8s/check --write"


def write_guide(renderings):
    text = GUIDE.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    GUIDE.write_text(f"{before}{BEGIN}\n\n{table(renderings)}\n{after}", encoding="utf-8")
