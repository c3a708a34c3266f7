"""What is rendered, and by what."""

import pathlib
import subprocess

import yaml

HERE = pathlib.Path(__file__).resolve().parent.parent
CHART = HERE / "chart"

KUSTOMIZATIONS = {
    "production": HERE / "overlays/production",
    "production-keda": HERE / "overlays/production-keda",
    "dev": HERE / "overlays/dev",
    "setup": HERE / "setup",
}
# Sets of values, one on top of the other.
CHARTS = {
    "chart, production": ["production.yaml"],
    "chart, production-keda": ["production.yaml", "production-keda.yaml"],
    "chart, everything": ["everything.yaml"],
    "chart, setup": ["setup.yaml"],
}


class Refused(Exception):
    """What the tool said."""


class Tools:
    """The programs that render."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def _run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Refused(done.stderr.strip())
        return done.stdout

    def kustomize(self, folder):
        """The text that `kubectl kustomize` makes of a folder."""
        return self._run(self.folder / "kubectl", "kustomize", folder)

    def helm(self, values, *settings):
        """The text that `helm template` makes of the chart."""
        command = [self.folder / "helm", "template", "leasehold", CHART, "--namespace", "leasehold"]
        for name in values:
            command += ["--values", CHART / "ci" / name]
        for setting in settings:
            command += ["--set", setting]
        return self._run(*command)

    def helm_lint(self, values):
        command = [self.folder / "helm", "lint", "--strict", "--quiet", CHART]
        for name in values:
            command += ["--values", CHART / "ci" / name]
        return self._run(*command)


def documents(text):
    """The manifests of a rendered text."""
    return [document for document in yaml.safe_load_all(text) if document]


def render_all(tools):
    """Every rendering's text, by name."""
    texts = {name: tools.kustomize(folder) for name, folder in KUSTOMIZATIONS.items()}
    return texts | {name: tools.helm(values) for name, values in CHARTS.items()}


def title(manifest):
    return f"{manifest['kind']} {manifest['metadata']['name']}"
