"""The image: built, looked into, and run as Docker and Kubernetes would."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from scripts.deploy_check.tools import REPOSITORY
from scripts.deploy_trial.world import BASE, CACHE, World

IMAGE = "localhost/market-spine:latest"
DAY = "2025-12-23"
HARDENED = (
    *("--rm", "--read-only", "--user", "1000650000:0", "--cap-drop", "all"),
    *("--security-opt", "no-new-privileges", "--network", "none"),
)
GUIDE = ("python", "scripts/schedule_finra.py", "--lookback-weeks", "4", "--mode", "run", "--json", "--run-date", DAY)


def build(world: World) -> str:
    """The image is built on the stand-in base, and with the extras of the simulator and of the console."""
    world.podman("import", CACHE / "python.tar", BASE)
    started = time.monotonic()
    _bud(world, IMAGE, ".")
    seconds = time.monotonic() - started
    _bud(world, "localhost/market-spine:simulate", "--build-arg", "EXTRAS=simulate", ".")
    _bud(world, "localhost/market-spine:console", "--build-arg", "EXTRAS=web metrics", ".")
    return f"{seconds:.0f} s"


def _bud(world: World, name: str, *arguments: str | Path) -> None:
    # The host's certificates: where a proxy has one of its own, pip must trust it.
    options = ("--isolation", "oci", "--network", "host", "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro")
    pip = [f"--env={key}={value}" for key, value in os.environ.items() if key == "PIP_CERT"]
    world.run("buildah", "bud", *options, *pip, f"--build-arg=BASE={BASE}", "--tag", name, *arguments, cwd=REPOSITORY)


def context(world: World) -> str:
    """The build context holds no tests, no documents and no lock file but those of an image."""
    recipe = world.folder / "Context"
    recipe.write_text(f"FROM {BASE}\nCOPY . /context\n")
    _bud(world, "localhost/trial/context", "--file", recipe, ".")
    said = world.podman("run", "--rm", "localhost/trial/context", "find", "/context", "-type", "f", "-printf", "%P\n")
    names = said.split()
    strange = [name for name in names if "/tests/" in name or name.startswith(("docs/", ".git", "benchmarks/"))]
    strange += [name for name in names if name.startswith("deploy/") and not name.startswith("deploy/locks/")]
    assert not strange, strange
    assert "requirements-runtime.lock" in names
    assert "market-spine-basic/src/market_spine/__init__.py" in names
    return f"{len(names)} files"


def layers(world: World) -> str:
    """The image has its labels, ends on SIGTERM, and its size is where it is said to be."""
    (described,) = json.loads(world.podman("image", "inspect", IMAGE))
    config = described["Config"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["User"] == "10001:0"
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    sizes = world.podman("history", "--format", "{{.Size}}  {{.CreatedBy}}", "--no-trunc", "--human", IMAGE)
    told = [line[:90] for line in sizes.splitlines() if not line.startswith("0 B")]
    look = "cd /opt/market-spine/lib/python3*/site-packages && du -sm . && du -sm * | sort -rn | head -8"
    inside = world.podman("run", "--rm", IMAGE, "sh", "-c", look).split("\n")
    total = f"{described['Size'] / 1e6:.0f} MB"
    return "; ".join(
        [total, *told, "site-packages in MB: " + ", ".join(" ".join(line.split()) for line in inside if line)]
    )


def bare(world: World) -> str:
    """Neither pip nor a build tool nor a compiler is in the image."""
    check = (
        "! command -v pip pip3 gcc cc make ld hatchling && ! python -c 'import pip' && ! python -c 'import hatchling'"
    )
    world.podman("run", "--rm", IMAGE, "sh", "-c", f"{check} 2> /dev/null")
    return "none of pip, hatchling, gcc, cc, make, ld"


def start(world: World) -> str:
    """The guide's commands start in it as a random uid, and what a container adds to a start is told."""
    for command in (("python", "scripts/schedule_finra.py", "--help"), ("market-spine", "--version")):
        world.podman("run", *HARDENED, "--env", "HOME=/nowhere", IMAGE, *command)
    inside = _median(world, "podman", "run", *HARDENED, IMAGE, "market-spine", "--version")
    empty = _median(world, "podman", "run", *HARDENED, IMAGE, "true")
    outside = _median(world, world.program(), "--version")
    return f"market-spine --version {inside:.2f} s, `true` in the image {empty:.2f} s, bare {outside:.2f} s"


def _median(world: World, *command: str | Path) -> float:
    taken = []
    for _ in range(5):
        started = time.monotonic()
        world.run(*command)
        taken.append(time.monotonic() - started)
    return statistics.median(taken)


def _mounts(world: World) -> list[str]:
    return ["--volume", f"{world.folder}/data:/app/data", "--volume", f"{world.folder}/finra:/app/data/finra:ro"]


def first_load(world: World) -> str:
    """The main job loads twelve partitions from files: read-only, a random uid, group 0, no capabilities."""
    (world.folder / "data/finra").mkdir(parents=True)
    (world.folder / "data").chmod(0o2775)  # as the image's folder
    _sample(world, "finra", "2000")
    result = world.result("podman", "run", *HARDENED, *_mounts(world), IMAGE, *GUIDE)
    assert (result["status"], result["stats"]["succeeded"]) == ("success", 12), result
    return "12 of 12"


def _sample(world: World, folder: str, rows: str, *more: str) -> None:
    sample = ("sample-data", "finra", "--out", folder, "--weeks", "4", "--rows", rows, "--run-date", DAY, *more)
    world.run(world.program(), *sample)


def second_run(world: World) -> str:
    """A second run skips all twelve, and sees nothing at a terminal that it lacks."""
    started = time.monotonic()
    result = world.result("podman", "run", *HARDENED, *_mounts(world), IMAGE, *GUIDE)
    seconds = time.monotonic() - started
    assert result["stats"]["skipped"] == 12, result
    world.podman("run", "--tty", *HARDENED, *_mounts(world), IMAGE, "market-spine", "status", "--run-date", DAY)
    world.podman("run", "--tty", *HARDENED, *_mounts(world), IMAGE, *GUIDE)
    return f"12 skipped, {seconds:.2f} s with the container's start"


def revision(world: World) -> str:
    """A restated file is one revision for each tier, with its rows counted."""
    _sample(world, "finra", "2000", "--revise")
    result = world.result("podman", "run", *HARDENED, *_mounts(world), IMAGE, *GUIDE)
    revised = [run["partition_key"] for run in result["runs"] if run.get("is_revision") and run.get("revision_summary")]
    assert len(set(revised)) == 3, result["runs"]
    return ", ".join(sorted(set(revised)))


def terminated(world: World) -> str:
    """SIGTERM in the middle of a load ends it with exit code 2 and a written result."""
    _sample(world, "many", "40000")
    (world.folder / "half/finra").mkdir(parents=True)
    (world.folder / "half").chmod(0o2775)
    mounts = ("--volume", f"{world.folder}/half:/app/data", "--volume", f"{world.folder}/many:/app/data/finra:ro")
    hardened = [option for option in HARDENED if option != "--rm"]
    world.podman("run", "--detach", "--name", "stopped", *hardened, *mounts, IMAGE, *GUIDE)
    _until_logged(world, "stopped", "ingest_week completed")
    started = time.monotonic()
    world.podman("stop", "--time", "120", "stopped")
    seconds = time.monotonic() - started
    code = world.podman("wait", "stopped").strip()
    log = subprocess.run(["podman", "logs", "stopped"], capture_output=True, text=True, check=True)  # noqa: S607 - fixed
    result = json.loads(log.stdout)
    assert (code, result["status"]) == ("2", "partial"), (code, result["status"])
    assert 0 < result["stats"]["succeeded"] < 12, result["stats"]
    world.podman("rm", "stopped")
    return f"exit code 2 after {seconds:.1f} s, {result['stats']['succeeded']} of 12 loaded"


def _until_logged(world: World, name: str, text: str) -> None:
    world.wait(f"{text!r} in the log", "bash", "-c", f"podman logs {name} 2>&1 | grep -q '{text}'")


def other_platforms(world: World) -> str:
    """Wheels of every locked package exist for Python 3.11 to 3.14 on amd64 and arm64."""
    found = []
    for version in ("3.11", "3.12", "3.13", "3.14"):
        for machine in ("x86_64", "aarch64"):
            tags = [f"--platform={each}_{machine}" for each in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
            wanted = ("--only-binary", ":all:", "--require-hashes", "-r", REPOSITORY / "requirements-runtime.lock")
            options = ("--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--implementation", "cp")
            pip = (world.program("python"), "-m", "pip", "install", *options, "--target", world.folder / "none")
            world.run(*pip, "--python-version", version, *tags, *wanted)
            found.append(f"{version} {machine}")
    return ", ".join(found)
