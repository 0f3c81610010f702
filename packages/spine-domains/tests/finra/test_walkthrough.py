"""The walkthrough in docs/architecture.md: the row it follows, and the functions it names, in their order."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from market_spine.cli.main import root, run
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

if TYPE_CHECKING:
    import pytest

REPOSITORY = Path(__file__).resolve().parents[4]
PACKAGES = {
    "spine.domains.finra.otc_transparency": ("normalize", "parse", "source", "calculations"),
    "market_spine": (),
}
FLAGS = {"weeks": "2025-11-21", "tiers": "OTC", "run_date": "2025-12-23"}


def walkthrough() -> str:
    """The section, from its heading to the next."""
    text = (REPOSITORY / "docs/architecture.md").read_text("utf-8")
    return text.split("## A restated row, step by step\n", 1)[1].split("\n## ", 1)[0]


def blocks() -> list[str]:
    """The section's code blocks: the first file, the restated line, what ``diff`` prints."""
    return re.findall(r"```\w*\n(.*?)```", walkthrough(), re.DOTALL)


def named() -> list[str]:
    """The functions in the second column of the section's table, in order."""
    cells = re.findall(r"^\| \d+ \| ([^|]+) \|", walkthrough(), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]


def code_of(name: str) -> CodeType:
    """The code of a function named ``module.function`` or ``module.Class.method`` below one of the packages."""
    parts = name.split(".")
    for package, modules in PACKAGES.items():
        if modules and parts[0] not in modules:
            continue
        for length in range(len(parts) - 1, 0, -1):
            try:
                found: Any = import_module(".".join((package, *parts[:length])))
            except ModuleNotFoundError:
                continue
            for attribute in parts[length:]:
                found = getattr(found, attribute)
            found = getattr(found, "callback", found)
            code = getattr(getattr(found, "__wrapped__", found), "__code__", None)
            assert isinstance(code, CodeType), name
            return code
    raise AssertionError(f"there is no {name}")


def called(names: dict[CodeType, str], work: Callable[[], object]) -> list[str]:
    """Which of the named functions the work calls, each at its first call."""
    order: dict[str, None] = {}

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code in names:
            order.setdefault(names[frame.f_code])

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return list(order)


def test_the_walkthrough_is_what_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Loading the page's file, then its restated line, calls the named functions in that order, and ``diff`` prints
    what the page shows."""
    first, restated, printed = blocks()
    file = tmp_path / "otc_week_2025-11-21.csv"
    db = str(tmp_path / "spine.db")
    file.write_text(first)
    assert run_finra_schedule(db=db, data_dir=str(tmp_path), **FLAGS).exit_code == 0  # type: ignore[arg-type]
    old = next(line for line in first.splitlines() if line.split("|")[:5] == restated.split("|")[:5])
    assert old != restated.strip()
    file.write_text(first.replace(old, restated.strip()))

    def load_and_compare() -> None:
        result = run_finra_schedule(db=db, data_dir=str(tmp_path), **FLAGS)  # type: ignore[arg-type]
        assert result.exit_code == 0
        assert run(root, ["diff", "2025-11-21|OTC", "--db", db], "market-spine") == 0

    names = {code_of(name): name for name in named()}
    assert len(names) == len(named()) >= 20
    assert called(names, load_and_compare) == named()
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines()] == [line.split() for line in printed.splitlines()]
