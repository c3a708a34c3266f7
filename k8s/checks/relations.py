"""What one manifest says about another, and about times that must fit together."""

from .renderings import title

# Left after the drain, for the process to end before it is killed. As
# `END_MARGIN` in worker/src/config/worker.rs.
END_MARGIN_S = 5
# One account's engine may take as long to shut down: --engine-shutdown-limit.
SHUTDOWN_S = 10
# Made by hand or by an operator, as the guide says.
GIVEN_SECRETS = {"leasehold-key-ring": {"keyring.json"}, "leasehold-api-keys": {"admin", "metrics"}}
WORKLOADS = {"Deployment", "Job"}


def problems(manifests):
    """Everything that does not fit."""
    for rule in RULES:
        for manifest in manifests:
            yield from (f"{title(manifest)}: {text}" for text in rule(manifest, manifests))


def times_fit(manifest, _):
    """The worker knows the pod's own times, and the drain has room in them."""
    if not is_worker(manifest):
        return
    pod = manifest["spec"]["template"]["spec"]
    container = pod["containers"][0]
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    grace = pod["terminationGracePeriodSeconds"]
    hook = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    if env.get("LEASEHOLD_TERMINATION_GRACE") != f"{grace}s":
        yield (
            f"terminationGracePeriodSeconds is {grace}, LEASEHOLD_TERMINATION_GRACE"
            f" {env.get('LEASEHOLD_TERMINATION_GRACE')}"
        )
    if env.get("LEASEHOLD_PRE_STOP") != f"{hook}s":
        yield f"preStop sleeps {hook} s, LEASEHOLD_PRE_STOP is {env.get('LEASEHOLD_PRE_STOP')}"
    if "LEASEHOLD_GRACE" in env:
        yield "LEASEHOLD_GRACE is set: the drain's limit follows from the two above"
    drain = grace - hook - END_MARGIN_S
    if drain < SHUTDOWN_S:
        yield f"{drain} s are left for the drain; one engine may need {SHUTDOWN_S} s"
    ready = container["readinessProbe"]
    unready_s = ready["periodSeconds"] * ready["failureThreshold"]
    if unready_s > 10:
        yield f"a suspended worker gets requests for {unready_s} s"


def probes_are_the_apis(manifest, _):
    """Liveness never depends on the store: a restart would kill healthy accounts."""
    if not is_worker(manifest):
        return
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    for probe, path in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ]:
        found = container[probe]["httpGet"]["path"]
        if found != path:
            yield f"{probe} asks {found} and not {path}"


def selectors_find_pods(manifest, manifests):
    """Services, budgets and policies name pods that there are."""
    kind, spec = manifest["kind"], manifest.get("spec", {})
    selector = {
        "Service": lambda: {"matchLabels": spec["selector"]},
        "PodDisruptionBudget": lambda: spec["selector"],
        "NetworkPolicy": lambda: spec["podSelector"],
        "Deployment": lambda: spec["selector"],
    }.get(kind)
    if selector and not any(matches(selector(), labels) for labels in pods(manifests)):
        yield "its selector finds no pod"
    if kind == "ServiceMonitor" and not any(
        matches(spec["selector"], other["metadata"].get("labels", {}))
        and {endpoint["port"] for endpoint in spec["endpoints"]}
        <= {port["name"] for port in other["spec"]["ports"]}
        for other in manifests
        if other["kind"] == "Service"
    ):
        yield "it finds no Service with its ports"
    for constraint in pod_spec(manifest).get("topologySpreadConstraints", []):
        own = manifest["spec"]["template"]["metadata"]["labels"]
        if not matches(constraint["labelSelector"], own):
            yield f"its pods are not spread over {constraint['topologyKey']}: the labels are others"


def names_are_there(manifest, manifests):
    """What is named is there: service accounts, secrets, config maps, ports, targets."""
    there = {(other["kind"], other["metadata"]["name"]) for other in manifests}
    pod = pod_spec(manifest)
    account = pod.get("serviceAccountName")
    if account and ("ServiceAccount", account) not in there:
        yield f"there is no ServiceAccount {account}"
    priority = pod.get("priorityClassName")
    if priority and priority != "messaging" and ("PriorityClass", priority) not in there:
        yield f"there is no PriorityClass {priority}"
    for volume in pod.get("volumes", []):
        secret = volume.get("secret", {}).get("secretName")
        if secret and ("Secret", secret) not in there and secret not in GIVEN_SECRETS:
            yield f"nobody makes the Secret {secret}"
        keys = {item["key"] for item in volume.get("secret", {}).get("items", [])}
        if secret in GIVEN_SECRETS and not keys <= GIVEN_SECRETS[secret]:
            yield f"the Secret {secret} has no {sorted(keys - GIVEN_SECRETS[secret])}"
        config = volume.get("configMap", {}).get("name")
        if config and ("ConfigMap", config) not in there:
            yield f"there is no ConfigMap {config}"
        used = [
            mount["name"]
            for container in pod["containers"] + pod.get("initContainers", [])
            for mount in container.get("volumeMounts", [])
        ]
        if volume["name"] not in used:
            yield f"nobody mounts {volume['name']}"
    target = manifest.get("spec", {}).get("scaleTargetRef")
    if target and (target["kind"], target["name"]) not in there:
        yield f"it scales {target['kind']} {target['name']}, which is not there"


def one_scales(manifest, manifests):
    """A Deployment has a count or one autoscaler, never both."""
    if not is_worker(manifest):
        return
    name = manifest["metadata"]["name"]
    scalers = sum(
        other.get("spec", {}).get("scaleTargetRef", {}).get("name") == name for other in manifests
    )
    if scalers + ("replicas" in manifest["spec"]) != 1:
        yield f"replicas: {manifest['spec'].get('replicas')}, autoscalers: {scalers}"


def capacity_covers_target(manifest, manifests):
    """The autoscaler asks for fewer accounts a pod than a pod has room for."""
    metric = manifest.get("spec", {}).get("metrics", [{}])[0].get("external", {})
    trigger = manifest.get("spec", {}).get("triggers", [{}])[0].get("metadata", {})
    asked = metric.get("target", {}).get("averageValue") or trigger.get("threshold")
    if asked is None:
        return
    for other in filter(is_worker, manifests):
        env = other["spec"]["template"]["spec"]["containers"][0]["env"]
        capacity = next(v["value"] for v in env if v["name"] == "LEASEHOLD_CAPACITY")
        if int(asked) >= int(capacity):
            yield f"{asked} accounts a pod, of {capacity}: no room for those of a pod that is lost"


def nobody_may_anything(manifest, _):
    """No token of the Kubernetes API is in any pod, and no role is given."""
    if "Role" in manifest["kind"]:
        yield "workers need no role"
    if manifest["kind"] in WORKLOADS and pod_spec(manifest).get("automountServiceAccountToken", True):
        yield "the API's token is mounted"


def variables_are_the_manifests_own(manifest, _):
    """Kubernetes adds LEASEHOLD_PORT and the like for a Service of this name."""
    if manifest["kind"] in WORKLOADS and pod_spec(manifest).get("enableServiceLinks", True):
        yield "enableServiceLinks is on"


RULES = [
    times_fit,
    probes_are_the_apis,
    selectors_find_pods,
    names_are_there,
    one_scales,
    capacity_covers_target,
    nobody_may_anything,
    variables_are_the_manifests_own,
]


def is_worker(manifest):
    labels = manifest["metadata"].get("labels", {})
    return (
        manifest["kind"] == "Deployment" and labels.get("app.kubernetes.io/component") == "worker"
    )


def pod_spec(manifest):
    if manifest["kind"] not in WORKLOADS:
        return {}
    return manifest["spec"]["template"]["spec"]


def pods(manifests):
    """The labels of every pod that comes of these manifests."""
    return [
        manifest["spec"]["template"]["metadata"]["labels"]
        for manifest in manifests
        if manifest["kind"] in WORKLOADS
    ]


def matches(selector, labels):
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    listed = all(
        labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )
    return equal and listed
