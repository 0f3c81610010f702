"""docs/python.md and docs/export.md: their examples run, on what ``make demo`` loads."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from market_spine.cli.main import root, run

pytestmark = pytest.mark.soak

DOCS = Path(__file__).resolve().parents[4] / "docs"
PAGE = DOCS / "python.md"


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four weeks of invented files loaded, restated, and loaded again a day later, as in scripts/demo.sh."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", str(tmp_path / "market_spine.db"))
    monkeypatch.setenv("FINRA_DATA_DIR", str(tmp_path / "data"))
    sample = ["sample-data", "finra", "--out", "data", "--weeks", "4", "--rows", "300", "--run-date", "2025-12-23"]
    for commands in (
        (sample, ["schedule", "finra", "--run-date", "2025-12-23"]),
        (
            [*sample, "--revise"],
            ["schedule", "finra", "--run-date", "2025-12-24"],
        ),
    ):
        for arguments in commands:
            assert run(root, arguments, "market-spine") == 0


@pytest.mark.usefixtures("demo")
def test_the_examples_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every example of the page runs after those before it, and shows what the page says."""
    capsys.readouterr()
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    told = capsys.readouterr().out
    assert "<Frame finra_otc_venue_volume as of" in told
    assert "add one: UTC" in told
    assert "2025-11-21|OTC" in told
    assert (tmp_path / "volume.parquet").exists()


@pytest.mark.usefixtures("demo")
def test_the_exports_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the page makes the export that it names."""
    (block,) = re.findall(r"^```bash\n(.*?)^```", (DOCS / "export.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]
    assert len(commands) == 3
    for program, *arguments in commands:
        assert (program, run(root, arguments, program)) == ("market-spine", 0)
        assert (tmp_path / arguments[arguments.index("--to") + 1]).exists()
    assert "2 tables and views" in capsys.readouterr().out
