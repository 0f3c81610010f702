"""GitHub Actions and GitLab CI: schemas, pins, secrets, and the steps of the workflow run for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.deploy_check import program, shell, tools
from scripts.deploy_check.documents import find, load, schedule_problem

WORKFLOW = "deploy/github-actions/finra.yml"
GITLAB = "deploy/gitlab-ci/finra.gitlab-ci.yml"


def check_github(root: Path) -> list[str]:
    """Problems of the workflow."""
    path = root / WORKFLOW
    schema = ("--builtin-schema", "vendor.github-workflows", "--output-format", "text")
    found = tools.complaints("check-jsonschema", *schema, path, cwd=root)
    found += tools.complaints("zizmor", "--offline", "--quiet", "--no-progress", "--format", "plain", path, cwd=root)
    text, document = path.read_text("utf-8"), load(path)
    if not isinstance(document, dict):
        return found
    page = (root / "docs/deploy.md").read_text("utf-8")
    for name in sorted(set(re.findall(r"secrets\.(\w+)", text))):
        if f"gh secret set {name}" not in page:
            found.append(f"{WORKFLOW}: docs/deploy.md does not tell how to set the secret {name}")
    for action in find(document, "uses"):
        if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action):
            found.append(f"{WORKFLOW}: {action} is not pinned by hash")
    # YAML 1.1 reads the key `on` as true.
    schedules = list(find(document.get(True), "cron"))
    found += [f"{WORKFLOW}: {problem}" for each in schedules if (problem := schedule_problem(each))]
    for compared in re.findall(r"github\.event\.schedule == '([^']*)'", text):
        if compared not in schedules:
            found.append(f"{WORKFLOW}: {compared!r} is none of the schedules")
    for job in document.get("jobs", {}).values():
        for step in job.get("steps", []):
            found += _step(step)
    return found


def _step(step: Mapping[str, Any]) -> Iterator[str]:
    run = step.get("run", "")
    if "${{" in run:
        yield f"{WORKFLOW}: an expression stands in the shell text of {step.get('name')!r}"
    yield from shell.check_text(WORKFLOW, run)
    yield from _variables(WORKFLOW, step.get("env", {}), run)


def _variables(place: str, environment: Mapping[str, Any], run: str) -> Iterator[str]:
    for name in environment:
        if name not in program.variables() and not re.search(rf"\$\{{?{name}\b", run):
            yield f"{place}: {name} is no variable of the program, and no shell line uses it"


def check_gitlab(root: Path) -> list[str]:
    """Problems of the GitLab configuration."""
    path = root / GITLAB
    schema = ("--builtin-schema", "vendor.gitlab-ci", "--output-format", "text")
    found = tools.complaints("check-jsonschema", *schema, "--data-transform", "gitlab-ci", path, cwd=root)
    document = load(path)
    if not isinstance(document, dict):
        return found
    for name, job in document.items():
        if isinstance(job, dict) and "script" in job:
            run = "\n".join([*job["script"], *job.get("after_script", [])])
            found += shell.check_text(f"{GITLAB}: {name}", run, "sh")
            found += _variables(GITLAB, {**job.get("variables", {}), **document.get("variables", {})}, run)
    return found


def check_steps(root: Path) -> list[str]:
    """What goes wrong when the workflow's steps run, in a copy of the tree and an environment of their own."""
    with tempfile.TemporaryDirectory(prefix="market-spine-steps-") as name:
        folder = Path(name)
        clone = folder / "clone"
        copy_tree(root, clone)
        _run_quietly(sys.executable, "-m", "venv", folder / "python", cwd=folder)
        stubs = [f"--local-repository={each}={_stub(folder, each)}" for each in _used(clone)]
        with simulated(folder) as address:
            return _act(clone, folder, stubs, address)


def _used(clone: Path) -> list[str]:
    return sorted({str(action) for action in find(load(clone / WORKFLOW), "uses")})


def copy_tree(root: Path, clone: Path) -> None:
    """A repository of its own with the files of this one as they are now."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603 - fixed
    for name in filter(None, done.stdout.split("\0")):
        if (root / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, clone / name, follow_symlinks=False)
    _run_quietly("git", "init", "--quiet", cwd=clone)
    identity = ("-c", "user.name=check", "-c", "user.email=check@localhost")
    _run_quietly("git", "add", "--all", cwd=clone)
    _run_quietly("git", *identity, "commit", "--quiet", "--message", "as it is", cwd=clone)


def _stub(folder: Path, action: str) -> Path:
    """An action that does here what the real one would there: put Python on the path, or keep a file."""
    name = action.partition("@")[0]
    does = {
        "actions/setup-python": f'echo "{folder}/python/bin" >> "$GITHUB_PATH"',
        "actions/upload-artifact": f'cp result.json "{folder}/artifact.json"',
    }.get(name, "true")
    place = folder / "actions" / name
    place.mkdir(parents=True, exist_ok=True)
    steps = {"using": "composite", "steps": [{"shell": "bash", "run": does}]}
    (place / "action.yml").write_text(json.dumps({"name": name, "description": name, "runs": steps}))
    return place


@contextmanager
def simulated(folder: Path) -> Iterator[str]:
    """While inside, a simulated FINRA runs on this machine; its address."""
    said = folder / "address"
    command = [sys.executable, "-m", "market_spine", "simulate", "finra", "--port", "0", "--rows", "200"]
    with said.open("wb") as output:
        simulator = subprocess.Popen(command, stdout=output)  # noqa: S603 - fixed arguments
    try:
        while not (address := said.read_text().strip()):
            if simulator.poll() is not None:
                raise RuntimeError("the simulated FINRA ended at once")
            time.sleep(0.1)
        yield address
    finally:
        simulator.terminate()
        simulator.wait()


def _act(clone: Path, folder: Path, stubs: list[str], address: str) -> list[str]:
    done = tools.call(
        "act",
        "workflow_dispatch",
        f"--workflows={WORKFLOW}",
        "--platform=ubuntu-latest=-self-hosted",
        *stubs,
        f"--secret=DATABASE_URL={folder}/market_spine.db",
        f"--var=FINRA_API_URL={address}",
        f"--artifact-server-path={folder}/artifacts",
        *(f"--env={name}={value}" for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))),
        cwd=clone,
    )
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    if done.returncode:
        return [f"{WORKFLOW}: {line}" for line in said[-30:]]
    result = json.loads((folder / "artifact.json").read_text("utf-8"))
    if (result["status"], result["stats"]["succeeded"]) != ("success", 12):
        return [f"{WORKFLOW}: the artifact is not the result of a first load: {result['status']} {result['stats']}"]
    return []


def _run_quietly(*command: str | Path, cwd: Path) -> None:
    subprocess.run([str(word) for word in command], cwd=cwd, check=True)  # noqa: S603 - fixed arguments
