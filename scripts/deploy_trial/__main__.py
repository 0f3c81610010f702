"""Run what ``deploy/`` ships: ``python -m scripts.deploy_trial``, on Debian as root, in some minutes.

It installs container tools from Debian and builds stand-ins for base images, which it keeps in the user's cache. All
else happens in memory, in a mount namespace of its own, and is gone at the end. The last line says ``N passed, M
failed``; the exit code is 1 if any failed.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from scripts.deploy_check import tools
from scripts.deploy_trial import consoles, image, pipelines, services
from scripts.deploy_trial.world import World, enter, prepare

STEPS: tuple[Callable[[World], str], ...] = (
    *(image.build, image.context, image.layers, image.bare, image.start),
    *(image.first_load, image.second_run, image.revision, image.terminated),
    *(services.compose, services.pods, consoles.compose, consoles.pod),
    *(services.cron, services.systemd),
    *(pipelines.lint, pipelines.gitlab, image.other_platforms),
)


def main() -> int:
    """Prepare, run the steps in a namespace of their own, and answer with the exit code."""
    if sys.argv[1:2] == ["--inside"]:
        return _run(World(Path(sys.argv[2])))
    prepare()
    tools.install()
    return enter(Path(tempfile.mkdtemp(prefix="market-spine-trial-")))


def _run(world: World) -> int:
    world.configure()
    failed = 0
    try:
        print(f"Python {platform.python_version()}, {_versions(world)}", flush=True)
        for step in STEPS:
            started = time.monotonic()
            try:
                said, word = step(world), "passed"
            except Exception:  # noqa: BLE001 - each step is tried, whatever became of the one before
                said, word = traceback.format_exc(limit=-1), "FAILED"
                failed += 1
            sentence = (step.__doc__ or "").strip().rstrip(".")
            print(f"{word}  {sentence} ({time.monotonic() - started:.0f} s)\n        {said}", flush=True)
    finally:
        world.clean()
    print(f"{len(STEPS) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _versions(world: World) -> str:
    names = ("podman", "buildah", "crun")
    return ", ".join(world.run(name, "--version").splitlines()[0].replace(" version", "") for name in names)


if __name__ == "__main__":
    sys.exit(main())
