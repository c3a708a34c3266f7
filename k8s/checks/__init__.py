"""What `k8s/check` looks at.

| Module | Holds |
|---|---|
| `renderings` | what is rendered: overlays, the chart with each set of values |
| `schemas` | the API's own schemas, for each version of Kubernetes |
| `relations` | what one manifest says about another: selectors, names, times |
| `environment` | the worker's variables, against the worker's own list |
| `parity` | the chart renders what the overlays render |
| `policy` | checkov, with every exception explained |
| `image` | the image's files, assembled and run |
| `indexes` | the indexes' script, against a service that is played |
| `controls` | manifests that are broken on purpose: each must be noticed |
| `report` | the outcomes |
"""
