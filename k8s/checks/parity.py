"""The chart renders what the overlays render.

Compared are whole manifests, order of lists of named things apart. What is let
differ is named here: the labels and hooks that tell Helm what it manages, the
namespace itself, and the suffix of a generated ConfigMap's name.
"""

import json

from .renderings import title

HELM_LABELS = {"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}
# A hook is not among the things that Helm manages.
HELM_ANNOTATIONS = {"helm.sh/hook", "helm.sh/hook-weight", "helm.sh/hook-delete-policy"}
# Not the chart's: whoever installs it names one.
KUSTOMIZE_ONLY = {"Namespace"}


def problems(chart, overlay):
    """Where the chart's manifests and the overlay's differ."""
    left = {title(manifest): manifest for manifest in map(plain, chart)}
    right = {
        title(manifest): manifest
        for manifest in map(plain, overlay)
        if manifest["kind"] not in KUSTOMIZE_ONLY
    }
    for name in sorted(left.keys() - right.keys()):
        yield f"only the chart has {name}"
    for name in sorted(right.keys() - left.keys()):
        yield f"the chart has no {name}"
    for name in sorted(left.keys() & right.keys()):
        yield from (f"{name}, {text}" for text in differences(left[name], right[name], ""))


def differences(chart, overlay, place):
    if isinstance(chart, dict) and isinstance(overlay, dict):
        for key in sorted(chart.keys() | overlay.keys(), key=str):
            yield from differences(chart.get(key), overlay.get(key), f"{place}.{key}")
    elif chart != overlay:
        shown = (json.dumps(value, default=str)[:200] for value in (chart, overlay))
        yield "{}: chart {}, overlay {}".format(place.lstrip("."), *shown)


def plain(manifest):
    """A manifest without what may differ."""
    name = manifest["metadata"]["name"]
    if manifest["kind"] == "ConfigMap":
        name = name.rsplit("-", 1)[0] if name.count("-") > 1 else name
    metadata = {
        "name": name,
        "namespace": manifest["metadata"].get("namespace"),
        "labels": without(manifest["metadata"].get("labels", {}), HELM_LABELS),
        "annotations": without(manifest["metadata"].get("annotations", {}), HELM_ANNOTATIONS),
    }
    plain_manifest = {key: value for key, value in manifest.items() if key != "metadata"}
    return sort_named(unsuffix({"metadata": metadata, **plain_manifest}))


def without(labels, names):
    return {key: value for key, value in labels.items() if key not in names}


def unsuffix(value):
    """Names of generated ConfigMaps without their hash."""
    if isinstance(value, dict):
        if set(value) == {"name"} and str(value["name"]).startswith("leasehold-indexes-"):
            return {"name": "leasehold-indexes"}
        return {key: unsuffix(part) for key, part in value.items()}
    if isinstance(value, list):
        return [unsuffix(part) for part in value]
    return value


def sort_named(value):
    """Lists of things with names as dictionaries: their order means nothing."""
    if isinstance(value, dict):
        return {key: sort_named(part) for key, part in value.items()}
    if isinstance(value, list):
        parts = [sort_named(part) for part in value]
        if parts and all(isinstance(part, dict) and "name" in part for part in parts):
            return {part["name"]: part for part in parts}
        return sorted(parts, key=lambda part: json.dumps(part, sort_keys=True))
    return value
