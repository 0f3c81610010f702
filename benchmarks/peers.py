"""The environment of the programs we compare with: its own, so that it never touches the project's."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
_FOLDER = HERE / ".venv"


def peer_python() -> str:
    """The interpreter that has the pinned peers, installed on first use and whenever the pins change."""
    python = _FOLDER / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    installed = _FOLDER / "installed.txt"
    if not installed.is_file() or installed.read_text() != REQUIREMENTS.read_text():
        print(f"installing {REQUIREMENTS.name} into {_FOLDER} ...", file=sys.stderr)
        venv.create(_FOLDER, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", "--requirement", REQUIREMENTS], check=True)
        installed.write_text(REQUIREMENTS.read_text())
    return str(python)
