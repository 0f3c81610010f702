"""What a shell is offered, asked as a shell asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Home

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here"),
]

SCRIPT = """\
market-spine() { "$PYTHON" -c 'from market_spine.cli.main import main; main()' "$@"; }
eval "$(_MARKET_SPINE_COMPLETE=bash_source market-spine)"
COMP_LINE=$1 COMP_POINT=${#1}
_market_spine_completion market-spine
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(home: Home, line: str) -> list[str]:
    """The words that bash would put where the line ends, as it replaces what follows the last colon."""
    environ = {**os.environ, "PYTHONPATH": str(home.site), "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "--norc", "-c", SCRIPT, "bash", line],
        cwd=home.path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("market-spine capt", ["captures"]),
        ("market-spine schedule ha", ["harbor"]),
        ("market-spine captures 2025", ["2025-03-01"]),
        ("market-spine captures --domain ha", ["harbor"]),
        ("market-spine diff ", ["2025-03-01"]),
        ("market-spine payload har", ["harbor:2025-03-01:20250302", "harbor:2025-03-01:20250302.2"]),
        ("market-spine payload harbor:2025-03-01:2025", ["20250302", "20250302.2"]),
        ("market-spine query x --as-of harbor:", ["2025-03-01:20250302", "2025-03-01:20250302.2"]),
        ("market-spine captures --db nowhere.db ", []),
    ],
)
def test_commands_partitions_and_captures_are_offered(loaded: Home, line: str, words: list[str]) -> None:
    """Commands, domains, partitions and captures of the database are offered; without a database nothing is said."""
    assert offered(loaded, line) == words
