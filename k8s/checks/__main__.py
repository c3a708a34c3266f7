"""`python -m checks --tools FOLDER [--write]`: see k8s/check."""

import argparse
import pathlib
import shutil
import sys
import tempfile

from . import controls, environment, image, indexes, parity, policy, relations, schemas
from .renderings import CHARTS, HERE, Refused, Tools, documents, render_all
from .report import Report

# What tests/rollout reads its numbers from, and what shows in a review.
RENDERED = HERE / "rendered/production.yaml"
RENDERED_HEAD = "# Made by `k8s/check --write` from k8s/overlays/production. Do not edit.\n"

# Chart and overlay that must be the same.
PAIRS = [("chart, production", "production"), ("chart, production-keda", "production-keda")]


def main():
    parser = argparse.ArgumentParser(prog="k8s/check")
    parser.add_argument("--tools", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="write what is generated anew")
    parser.add_argument("--image", type=pathlib.Path, help="check the image of this program only")
    arguments = parser.parse_args()
    tools, report = Tools(arguments.tools), Report()
    if arguments.image:
        print("the image, assembled without Docker")
        image.run(report, arguments.image.resolve(), RENDERED.read_text())
        return report.close()
    renderings = render_all(tools)
    if arguments.write:
        RENDERED.write_text(RENDERED_HEAD + renderings["production"])
        environment.write_guide(renderings)

    manifests = {name: documents(text) for name, text in renderings.items()}
    for name, found in manifests.items():
        print(f"{name}: {len(found)} manifests")
        for version in schemas.VERSIONS:
            report.check(f"schemas of Kubernetes {version}", schemas.problems(found, version))
        report.check("names, selectors and times fit", relations.problems(found))
        report.check("the worker knows its variables", environment.problems(found))

    print("chart and overlays")
    for values in CHARTS.values():
        report.check(f"helm lint with {', '.join(values)}", lint(tools, values))
    for chart, overlay in PAIRS:
        report.check(f"{chart} is {overlay}", parity.problems(manifests[chart], manifests[overlay]))
    hooks = [m for m in manifests["chart, setup"] if "helm.sh/hook" in str(m["metadata"])]
    report.check("the chart's Jobs are those of setup", parity.problems(hooks, manifests["setup"]))

    print("policies (checkov)")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in renderings.items():
            (pathlib.Path(folder) / f"{name.replace(', ', '-')}.yaml").write_text(text)
        shutil.copy(HERE.parent / "worker/Dockerfile", folder)
        report.check("nothing but what is explained:", policy.problems(arguments.tools, folder))
    policy.explain()

    print("what is generated, and what is run")
    report.check("the indexes' script", indexes.problems())
    report.check("k8s/README.md has the variables", environment.guide_problems(renderings))
    current = RENDERED.read_text() if RENDERED.exists() else ""
    is_current = current == RENDERED_HEAD + renderings["production"]
    stale = [] if is_current else ["k8s/rendered is not up to date: k8s/check --write"]
    report.check("k8s/rendered is what the overlay renders", stale)

    print("controls")
    report.check("what is broken on purpose is noticed", controls.problems(tools, renderings))
    return report.close()


def lint(tools, values):
    try:
        tools.helm_lint(values)
    except Refused as error:
        yield str(error)


if __name__ == "__main__":
    sys.exit(main())
