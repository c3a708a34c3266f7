"""Manifests that are broken on purpose: a check that cannot fail is none."""

import copy
import pathlib
import tempfile

import yaml

from . import environment, parity, policy, relations, schemas
from .renderings import HERE, Refused, documents


def problems(tools, renderings):
    """What was broken and not noticed."""
    good = documents(renderings["production"])
    for name, break_it, notice in BREAKS:
        broken = copy.deepcopy(good)
        break_it(deployment(broken))
        if not list(notice(broken, good)):
            yield f"nobody notices: {name}"
    yield from copied_times(tools)
    yield from refused_values(tools)


def deployment(manifests):
    return next(filter(relations.is_worker, manifests))


def container(worker):
    return worker["spec"]["template"]["spec"]["containers"][0]


def set_variable(worker, name, value):
    for variable in container(worker)["env"]:
        if variable["name"] == name:
            variable["value"] = value


def relation(broken, _):
    return relations.problems(broken)


def schema(broken, _):
    return schemas.problems(broken, schemas.VERSIONS[0])


def variables(broken, _):
    return environment.problems(broken)


def chart(broken, good):
    return parity.problems(broken, good)


BREAKS = [
    (
        "another grace period in the pod than the worker knows",
        lambda worker: worker["spec"]["template"]["spec"].update(terminationGracePeriodSeconds=30),
        relation,
    ),
    (
        "a hook that is longer than the worker knows",
        lambda worker: container(worker)["lifecycle"]["preStop"]["sleep"].update(seconds=50),
        relation,
    ),
    (
        "a liveness probe that asks the store",
        lambda worker: container(worker)["livenessProbe"]["httpGet"].update(path="/health"),
        relation,
    ),
    (
        "pods that no selector finds",
        lambda worker: worker["spec"]["template"]["metadata"].update(labels={"app": "x"}),
        relation,
    ),
    (
        "a count beside the autoscaler",
        lambda worker: worker["spec"].update(replicas=3),
        relation,
    ),
    (
        "pods that are asked to hold all that they can",
        lambda worker: set_variable(worker, "LEASEHOLD_CAPACITY", "15"),
        relation,
    ),
    (
        "a field that there is not",
        lambda worker: worker["spec"].update(replicaz=3),
        schema,
    ),
    (
        "a variable that the worker does not know",
        lambda worker: container(worker)["env"].append({"name": "LEASEHOLD_GRACES", "value": "1s"}),
        variables,
    ),
    (
        "a chart that is not the overlay",
        lambda worker: set_variable(worker, "LEASEHOLD_CAPACITY", "19"),
        chart,
    ),
]


def copied_times(tools):
    """The two variables are copied into the pod's fields."""
    with tempfile.TemporaryDirectory(dir=HERE / "overlays") as folder:
        kustomization = {
            "resources": ["../production"],
            "patches": [
                {
                    "target": {"kind": "Deployment", "name": "leasehold"},
                    "patch": yaml.safe_dump(
                        [{"op": "add", "path": "/spec/template/spec/hostPID", "value": True}]
                    ),
                }
            ],
        }
        (pathlib.Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        text = tools.kustomize(folder)
        with tempfile.TemporaryDirectory() as rendered:
            (pathlib.Path(rendered) / "broken.yaml").write_text(text)
            found = [line for line in policy.problems(tools.folder, rendered) if "CKV_K8S_17" in line]
            if not found:
                yield "nobody notices: a pod that sees the node's processes"
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        base = HERE / "base"
        copied = pathlib.Path(folder)
        for path in base.iterdir():
            (copied / path.name).write_text(path.read_text())
        manifest = copied / "deployment.yaml"
        manifest.write_text(manifest.read_text().replace("value: 60s", "value: 90s"))
        worker = deployment(documents(tools.kustomize(folder)))
        if worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] != 90:
            yield "the pod's grace period does not follow LEASEHOLD_TERMINATION_GRACE"


def refused_values(tools):
    """Values that cannot work are refused, with the value's name."""
    for setting, names in [
        ("firestore.project=", "project"),
        ("capacity=0", "capacity"),
        ("autoscaling.by=cpu", "autoscaling"),
        ("timing.terminationGraceSeconds=5", "terminationGraceSeconds"),
        ("replica=3", "replica"),
    ]:
        try:
            tools.helm(["production.yaml"], setting)
            yield f"the chart takes --set {setting}"
        except Refused as refusal:
            if names not in str(refusal):
                yield f"--set {setting} is refused with {refusal}"
    try:
        tools.helm(["setup.yaml"], "externalSecrets.enabled=true")
        yield "the chart takes setup.enabled with externalSecrets.enabled"
    except Refused as refusal:
        if "beforehand" not in str(refusal):
            yield f"setup with external secrets is refused with {refusal}"
