"""Manifests against the schemas of the API, strictly: an unknown field is wrong.

Kinds that operators bring are not in Kubernetes' schemas. `custom/` has the part
of theirs that is used here, written down from their definitions (Prometheus
operator, KEDA and External Secrets, as of August 2026).
"""

import json
import pathlib

import jsonschema
import kubernetes_validate

from .renderings import title

# From the first version that has `preStop.sleep` without a feature gate.
VERSIONS = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]

CUSTOM = {
    schema["properties"]["kind"]["const"]: schema
    for path in sorted((pathlib.Path(__file__).parent / "custom").glob("*.json"))
    for schema in [json.loads(path.read_text())]
}


def problems(manifests, version):
    for manifest in manifests:
        try:
            custom = CUSTOM.get(manifest["kind"])
            if custom:
                jsonschema.validate(manifest, custom)
            else:
                kubernetes_validate.validate(manifest, version, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            place = ".".join(map(str, error.path))
            yield f"{title(manifest)}, {place}: {error.message[:300]}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{title(manifest)}: {error.message}"
