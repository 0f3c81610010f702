"""The manifests: each overlay as kustomize builds it, against strict schemas, and whether its parts fit together."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from scripts.deploy_check import program, shell, tools
from scripts.deploy_check.documents import find, load_all, schedule_problem

FOLDER = "deploy/kubernetes"
OLDEST, NEWEST = "1.31", "1.37"
"""The supported versions; podFailurePolicy is stable since the oldest."""
LONGEST_NAME = 52
"""Of a CronJob, since its controller adds eleven characters."""
Manifests = list[dict[str, Any]]


def check(root: Path) -> list[str]:
    """Problems of every overlay."""
    found: list[str] = []
    shared: dict[str, Manifests] = {}
    with tempfile.TemporaryDirectory() as folder:
        for overlay in sorted(path.parent for path in (root / FOLDER).glob("overlays/*/kustomization.yaml")):
            built = tools.call("kubectl", "kustomize", overlay, cwd=root)
            if built.returncode:
                found.append(f"{overlay.relative_to(root)}: {built.stderr.strip()}")
                continue
            Path(folder, f"{overlay.name}.yaml").write_text(built.stdout, "utf-8")
            shared[overlay.name] = load_all(built.stdout)
        for version in (OLDEST, NEWEST):
            strict: tuple[str | Path, ...] = ("-k", version, "--strict", "--quiet", *sorted(Path(folder).iterdir()))
            said = tools.complaints("kubernetes-validate", *strict, cwd=Path(folder))
            found += [f"Kubernetes {version}: {line}" for line in said]
    # An overlay without a CronJob is applied beside another, whose accounts and settings it uses.
    everything = [document for documents in shared.values() for document in documents]
    for name, documents in shared.items():
        alone = any(document["kind"] == "CronJob" for document in documents)
        found += [f"{name}: {problem}" for problem in _together(documents, documents if alone else everything)]
        found += [f"{name}: {problem}" for problem in _secrets(documents, root)]
        if name == "openshift":
            found += [f"{name}: {problem}" for problem in _assigned_ids(documents)]
    return found


def pods(documents: Manifests) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod of each CronJob and Job, with a name to call it by."""
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if document["kind"] in {"CronJob", "Job"}:
            yield f"{document['kind']} {document['metadata']['name']}", spec


def _together(documents: Manifests, around: Manifests) -> Iterator[str]:
    there = {(document["kind"], document["metadata"]["name"]): document for document in around}
    for document in documents:
        if document["kind"] == "CronJob":
            yield from _cronjob(document)
        if document["kind"] == "ConfigMap" and not any("." in key for key in document.get("data", {})):
            yield from _variables(f"ConfigMap {document['metadata']['name']}", document.get("data", {}))
    for document in documents:
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            yield from (f"Deployment {document['metadata']['name']}: {problem}" for problem in _pod(pod, there))
    for name, job in pods(documents):
        pod = job["template"]["spec"]
        yield from (f"{name}: {problem}" for problem in _pod(pod, there))
        yield from (f"{name}: {problem}" for problem in _retries(job))
        yield from (f"{name}: {problem}" for problem in _shards(job))


def _cronjob(document: Mapping[str, Any]) -> Iterator[str]:
    name, spec = document["metadata"]["name"], document["spec"]
    if len(name) > LONGEST_NAME:
        yield f"CronJob {name}: the name is longer than {LONGEST_NAME} characters"
    if problem := schedule_problem(spec["schedule"]):
        yield f"CronJob {name}: {problem}"
    try:
        ZoneInfo(spec.get("timeZone") or "")
    except (ZoneInfoNotFoundError, ValueError):
        yield f"CronJob {name}: {spec.get('timeZone')!r} is no time zone"
    if spec.get("concurrencyPolicy") != "Forbid":
        yield f"CronJob {name}: two of its jobs may run at once"


def _pod(pod: Mapping[str, Any], there: Mapping[tuple[str, str], Any]) -> Iterator[str]:
    yield from _references(pod, there)
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield "it may run as root"
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"volume {mount['name']} is mounted but not declared"
        yield from _variables("container", {each["name"]: each for each in container.get("env", [])})
        yield from _command(container)
        yield from _bounds(container)


def _references(pod: Mapping[str, Any], there: Mapping[tuple[str, str], Any]) -> Iterator[str]:
    for key in ("configMap", "configMapRef", "configMapKeyRef"):
        for reference in find(pod, key):
            if not reference.get("optional") and ("ConfigMap", reference["name"]) not in there:
                yield f"there is no ConfigMap {reference['name']}"
    for reference in find(pod, "persistentVolumeClaim"):
        if ("PersistentVolumeClaim", reference["claimName"]) not in there:
            yield f"there is no PersistentVolumeClaim {reference['claimName']}"
    if ("ServiceAccount", pod.get("serviceAccountName", "")) not in there:
        yield f"there is no ServiceAccount {pod.get('serviceAccountName')}"


def _bounds(container: Mapping[str, Any]) -> Iterator[str]:
    secure = container.get("securityContext", {})
    if not secure.get("readOnlyRootFilesystem") or secure.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "its root is writable or it keeps capabilities"
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield "it has no limit of memory"


def _command(container: Mapping[str, Any]) -> Iterator[str]:
    words = [*container.get("command", []), *container.get("args", [])]
    line = " ".join(f"'{word}'" for word in words)
    if not list(shell.commands(line)):
        yield f"{words} is no command of the program"
    yield from shell.check_text("command", line)


def _retries(job: Mapping[str, Any]) -> Iterator[str]:
    rules = job.get("podFailurePolicy", {}).get("rules", [])
    names = {container["name"] for container in job["template"]["spec"]["containers"]}
    # One share that ended partial must not end the others.
    action = "FailIndex" if job.get("completionMode") == "Indexed" else "FailJob"
    stops = [rule["onExitCodes"] for rule in rules if rule["action"] == action and "onExitCodes" in rule]
    if not any(2 in codes["values"] for codes in stops):
        yield "exit code 2 (partial) is retried"
    for codes in stops:
        if codes.get("containerName") not in names:
            yield f"podFailurePolicy names no container: {codes.get('containerName')}"
    if job["template"]["spec"].get("restartPolicy") != "Never":
        yield "podFailurePolicy needs restartPolicy: Never"


def _shards(job: Mapping[str, Any]) -> Iterator[str]:
    """An Indexed Job has as many completions as its command has shards, and retries each by itself."""
    words = " ".join(word for each in job["template"]["spec"]["containers"] for word in each.get("args", []))
    counts = [int(count) for count in re.findall(r"--shard=\$\(JOB_COMPLETION_INDEX\)/(\d+)", words)]
    if counts != ([job.get("completions")] if job.get("completionMode") == "Indexed" else []):
        yield f"--shard has {counts or 'no'} shards, and the job {job.get('completions', 'no')} completions"
    if counts and ("backoffLimitPerIndex" not in job or "backoffLimit" in job):
        yield "a shard that fails ends the others: give backoffLimitPerIndex, and no backoffLimit"


def _variables(place: str, environment: Mapping[str, Any]) -> Iterator[str]:
    for name in environment:
        if name not in program.variables():
            yield f"{place}: {name} is no variable of the program"


def _secrets(documents: Manifests, root: Path) -> Iterator[str]:
    """Secrets that are used and that the page does not tell how to make."""
    page = (root / "docs/deploy.md").read_text("utf-8").replace("\\\n", " ")
    made: dict[str, set[str]] = {}
    for name, rest in re.findall(r"create secret generic (\S+)([^\n]*)", page):
        made.setdefault(name, set()).update(re.findall(r"--from-literal=([\w.-]+)=", rest))
    references = [*find(documents, "secretKeyRef"), *find(documents, "secretRef")]
    for name, key in sorted({(reference["name"], reference.get("key", "")) for reference in references}):
        if name not in made or (key and key not in made[name]):
            yield f"docs/deploy.md does not tell how to make the Secret {name} {key}".rstrip()


def _assigned_ids(documents: Manifests) -> Iterator[str]:
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        for value in find(documents, key):
            yield f"restricted-v2 assigns {key}, but {value} is asked for"


def pod_manifest(documents: Manifests, wanted: str) -> str:
    """The Pod that the controller of ``CronJob NAME`` or ``Job NAME`` would start, with all ConfigMaps, as YAML."""
    (job,) = [spec for name, spec in pods(documents) if name == wanted]
    metadata = {"name": wanted.partition(" ")[2], "labels": job["template"].get("metadata", {}).get("labels", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": job["template"]["spec"]}
    maps = [document for document in documents if document["kind"] == "ConfigMap"]
    text: str = yaml.safe_dump_all([*maps, pod], sort_keys=False)
    return text
