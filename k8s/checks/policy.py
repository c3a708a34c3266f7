"""The policies of checkov. Each exception has its reason; one that is needed no
longer is an error, too."""

import json
import subprocess

EXCEPTIONS = {
    "CKV_K8S_11": "no CPU limit: a throttled worker misses heartbeats and loses its accounts",
    "CKV_K8S_43": "a digest exists once an image was pushed; the guide sets it with"
    " `kustomize edit set image` and `--set image.digest`",
    "CKV_K8S_15": "with tags that are never moved (and digests) IfNotPresent runs the same image,"
    " and a pod starts while the registry is down",
    "CKV_DOCKER_2": "Kubernetes probes over HTTP; nothing else in the image could ask",
    "CKV_DOCKER_7": "the bases are arguments, with tags that checkov does not see",
}


def problems(tools, folder):
    """What checkov finds in a folder with rendered files and a Dockerfile."""
    command = [tools / "checkov", "--directory", folder, "--framework", "kubernetes", "dockerfile"]
    command += ["--output", "json", "--quiet", "--compact", "--skip-download"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answers = json.loads(done.stdout)
        # One framework's answer comes alone, those of several in a list.
        answers = answers if isinstance(answers, list) else [answers]
        found = [failure for answer in answers for failure in answer["results"]["failed_checks"]]
        unread = sum(answer["summary"]["parsing_errors"] for answer in answers)
    except (json.JSONDecodeError, KeyError, TypeError):
        yield f"checkov does not answer: {done.stderr.strip()[-300:]}"
        return
    if unread:
        yield f"{unread} files cannot be read"
    for failure in found:
        if failure["check_id"] not in EXCEPTIONS:
            yield (
                f"{failure['check_id']} {failure['check_name']}: {failure['resource']}"
                f" in {failure['file_path']}"
            )
    for unused in EXCEPTIONS.keys() - {failure["check_id"] for failure in found}:
        yield f"nothing needs the exception {unused} any more"


def explain():
    for check, reason in EXCEPTIONS.items():
        print(f"        {check}: {reason}")
