"""Where the trial runs: a mount namespace of its own, containers that live in one temporary folder, base images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.deploy_check.tools import REPOSITORY

DEBIAN = (
    *("podman", "buildah", "crun", "conmon", "netavark", "aardvark-dns", "catatonit", "iptables"),
    *("mmdebstrap", "cron", "rsync", "systemd", "nodejs", "npm"),
)
"""Packages that the trial installs where they are missing."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "market-spine-trial"
BASES = {
    "python": "python3-minimal,python3-venv,ca-certificates,tzdata",
    "postgres": "postgresql-15",
}
"""Stand-ins for images that a registry would have: their packages, on Debian 12."""
BASE = "localhost/trial/python:3.11"
ENTER = """
umount /sys/fs/cgroup/unified 2> /dev/null # crun refuses the hybrid layout
mount --bind /dev/null /usr/bin/systemd-run # netavark would start its name server through it, and no systemd runs here
mkdir -p /run/containers /run/netns /opt/market-spine
for folder in /run/containers /run/netns /opt/market-spine /etc/cron.d /var/spool/cron; do
    mount -t tmpfs none "$folder" || exit 1
done
mount --bind /dev/null /etc/crontab
mount -t tmpfs -o size=12g none "$1" || exit 1 # images and containers, gone with the namespace
shift
exec "$@"
"""


@dataclass(frozen=True)
class World:
    """The folder in which everything happens, and how programs run there."""

    folder: Path

    def run(self, *command: str | Path, cwd: Path | None = None, codes: tuple[int, ...] = (0,), **env: str) -> str:
        """Run a program; its stdout.

        Raises:
            RuntimeError: it ended with another exit code, which is told with what it wrote.
        """
        words = [str(word) for word in command]
        done = subprocess.run(  # noqa: S603 - the trial's own commands
            words, cwd=cwd or self.folder, env={**os.environ, **env}, capture_output=True, text=True, check=False
        )
        if done.returncode not in codes:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
            raise RuntimeError(f"exit code {done.returncode} of {' '.join(words)[:200]}\n{said}")
        return done.stdout

    def podman(self, *arguments: str | Path, codes: tuple[int, ...] = (0,)) -> str:
        """Run podman."""
        return self.run("podman", *arguments, codes=codes)

    def result(self, *command: str | Path) -> dict[str, Any]:
        """Run a scheduler with ``--json`` that must succeed; its result."""
        document: dict[str, Any] = json.loads(self.run(*command))
        return document

    def program(self, name: str = "market-spine") -> Path:
        """A program of the environment in which the trial itself runs."""
        return Path(sys.executable).parent / name

    def environ(self) -> dict[str, str]:
        """What makes podman, buildah and podman-compose keep to the folder."""
        return {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
        }

    def configure(self) -> None:
        """Write the settings of the container tools: limits that exist here, and everything in the folder."""
        folder = self.folder
        (folder / "containers.conf").write_text(
            "[containers]\n"
            'default_ulimits = ["nofile=4096:4096", "nproc=16384:16384"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "crun"\n'
            f'tmp_dir = "{folder}/libpod"\n'
            f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{folder}/networks"\n'
        )
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "/run/containers/storage"\n'
        )
        (folder / "registries.conf").write_text("unqualified-search-registries = []\n")
        os.environ.update(self.environ())
        (folder / "iptables").write_text(self.run("iptables-save"))

    def wait(self, what: str, *command: str | Path, seconds: float = 120) -> None:
        """Try a command until it ends well."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.run(*command)
            except RuntimeError as error:
                if time.monotonic() > end:
                    raise RuntimeError(f"{what}: not within {seconds:.0f} s") from error
                time.sleep(0.5)
            else:
                return

    def clean(self) -> None:
        """End what still runs, by podman's own means, and take back its rules of the firewall."""
        for arguments in (("pod", "rm", "--all", "--force"), ("rm", "--all", "--force", "--time", "1")):
            self.podman(*arguments, codes=(0, 1, 125))
        names = Path("/run/containers/networks/aardvark-dns/aardvark.pid")
        if names.exists():
            self.run("kill", names.read_text().strip(), codes=(0, 1))
        self.run("iptables-restore", self.folder / "iptables")


def prepare() -> None:
    """Install what is missing and build the base images that are not in the cache."""
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        sys.exit("the trial needs Debian and root")
    names = ["dpkg-query", "--show", "--showformat=${Package} ${Status}\\n", *DEBIAN]
    said = subprocess.run(names, capture_output=True, text=True, check=False).stdout  # noqa: S603 - fixed arguments
    missing = [name for name in DEBIAN if f"{name} install ok installed" not in said]
    missing = [name for name in missing if not (name in {"nodejs", "npm"} and shutil.which(name.removesuffix("js")))]
    if missing:
        print(f"installing {', '.join(missing)}", flush=True)
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", "--quiet", *command], stdout=sys.stderr, check=True)  # noqa: S603, S607 - fixed
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, packages in BASES.items():
        if not (CACHE / f"{name}.tar").exists():
            print(f"building the base image {name}", flush=True)
            part = CACHE / f"{name}.part.tar"  # by its name mmdebstrap knows what to make
            command = ["mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(part)]
            subprocess.run(command, stderr=subprocess.DEVNULL, check=True)  # noqa: S603 - fixed arguments
            part.rename(CACHE / f"{name}.tar")


def enter(folder: Path) -> int:
    """Run the trial in a mount namespace of its own, and remove its folder; its exit code."""
    inner = [sys.executable, "-m", "scripts.deploy_trial", "--inside", str(folder)]
    command = ["unshare", "--mount", "bash", "-c", ENTER, "trial", str(folder), *inner]
    try:
        return subprocess.run(command, cwd=REPOSITORY, check=False).returncode  # noqa: S603 - fixed arguments
    finally:
        folder.rmdir()
        for mounted in (Path("/opt/market-spine"), Path("/run/netns")):
            if mounted.exists() and not any(mounted.iterdir()):
                mounted.rmdir()
