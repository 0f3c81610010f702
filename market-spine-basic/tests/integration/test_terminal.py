"""What a person sees on a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Home

pytestmark = pytest.mark.process


def test_terminal_gets_a_table_and_a_progress_bar(loaded: Home) -> None:
    """On a terminal the progress bar counts partitions, green while well, and the summary says what became of them."""
    text = loaded.terminal("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", columns=160)
    assert "━" in text
    assert "1/1" in text
    assert "\x1b[32m━" in text
    assert "\x1b[31m" not in text
    assert "same_bytes" in text


def test_terminal_shows_logs_above_the_bar(start: Home) -> None:
    """On a terminal a log line stands on a line of its own, not behind the progress bar."""
    (start.path / "in").mkdir()
    (start.path / "in/2025-03-01.txt").write_text("<html>")
    run = ("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--run-date", "2025-03-02")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", start.terminal(*run, columns=160, code=1))
    logged = [line for line in re.split(r"[\r\n]+", text) if "ERROR:" in line]
    assert logged
    assert all(line.startswith("ERROR:") for line in logged)


@pytest.mark.parametrize(("columns", "drawn"), [(40, False), (200, True)])
def test_narrow_terminal_cuts_nothing_short(loaded: Home, columns: int, drawn: bool) -> None:
    """A table too wide for the terminal is written plain, with every identifier whole."""
    text = loaded.terminal("captures", "2025-03-01", columns=columns)
    assert ("━" in text) is drawn
    assert "harbor:2025-03-01:20250302.2" in text
    assert "…" not in text


def test_text_of_a_file_cannot_move_the_cursor(start: Home) -> None:
    """Rows with escape sequences and direction marks, shown by query, diff and explain, are spelt out on a terminal."""
    (start.path / "in").mkdir()
    hostile = "e\x1b[2J\u202evil"
    run = ("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--run-date", "2025-03-02")
    for tons in (1, 2):
        (start.path / "in/2025-03-01.txt").write_text(f"{hostile} {tons}\n")
        assert start(*run).code == 0
    for command in (
        ("query", "SELECT ship FROM harbor_landing"),
        ("query", "SELECT ship FROM harbor_landing", "--format", "csv"),
        ("diff", "2025-03-01"),
        ("explain", "harbor_landing", "day=2025-03-01", f"ship={hostile}"),
    ):
        shown = start.terminal(*command)
        assert "\\x1b[2J\\u202evil" in shown, command
        assert "\x1b[2J" not in shown, command
        assert "\u202e" not in shown, command
    plain = start("query", "SELECT ship FROM harbor_landing", "--format", "csv").stdout
    assert plain == f"ship\n{hostile}\n"


def test_an_argument_cannot_move_the_cursor(loaded: Home) -> None:
    """What was typed or pasted comes back in an error as one line without escapes."""
    shown = loaded.terminal("captures", "\x1b]0;owned\x07\nerror: all is lost", code=1)
    assert "\x1b]" not in shown
    assert "\\x1b]0;owned\\x07" in shown
    assert len(shown.splitlines()) == 1
