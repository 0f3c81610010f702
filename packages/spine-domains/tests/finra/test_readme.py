"""README.md and the end of the demo: every example works on what ``make demo`` loads."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[4]
README = (REPOSITORY / "README.md").read_text("utf-8")
DEMO = (REPOSITORY / "scripts/demo.sh").read_text("utf-8")
PROGRAMS = {"market-spine": ["-m", "market_spine"], "python": []}
ELSEWHERE = ("make", "pip", ".", "cd", "cat", "rm", "step")
"""Commands of other programs: making, installing, and the shell's own."""


class Shell:
    """A folder like the repository's, in which lines are run one after another."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environ}
        (folder / "scripts").symlink_to(REPOSITORY / "scripts")

    def __call__(self, line: str) -> subprocess.CompletedProcess[str] | None:
        """Run one line; None if it is no command of ours."""
        words = shlex.split(line, comments=True)
        if not words or words[0] in ELSEWHERE:
            return None
        if words[0] == "export":
            self.environ |= dict(word.split("=", 1) for word in words[1:])
            return None
        if "&&" in words:
            words = words[: words.index("&&")]
        command = [sys.executable, *PROGRAMS[words[0]], *words[1:]]
        return subprocess.run(
            command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False, timeout=300
        )


def examples(page: str) -> Iterator[str]:
    """The lines of a page's shell blocks."""
    for block in re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


@pytest.mark.process
def test_every_example_works_on_the_demos_database(tmp_path: Path) -> None:
    """What demo.sh runs, what it says to try next, and the examples of README.md end well, one after another."""
    shell = Shell(tmp_path)
    ran = [line.removeprefix("run ") for line in DEMO.splitlines() if line.startswith("run ") and "$" not in line]
    after = re.findall(r"<< 'EOT'\n(.*?)^EOT", DEMO, re.MULTILINE | re.DOTALL)[0].splitlines()
    own = README.index("## Your own data")
    lines = [*ran, *after, *examples(README[:own])]
    answers = {line: done for line in lines if (done := shell(line))}
    assert [(line, done.stderr) for line, done in answers.items() if done.returncode] == []
    told = {line.split()[1]: done.stdout for line, done in answers.items() if line.startswith("market-spine")}
    assert "3 revised, 9 captured" in told["status"]
    assert "1 added, 1 removed, 1 changed" in told["diff"]
    assert "restated" in told["changes"]
    assert told["explain"].count("capture finra.otc_transparency:OTC:2025-11-21:") == 2
    assert {"doctor", "ready", "query", "runs"} <= set(told)


@pytest.mark.process
@pytest.mark.server
def test_the_lines_for_ones_own_data_work(tmp_path: Path) -> None:
    """Files named as the page says are loaded by its first line; the others ask FINRA and a vendor, here simulated."""
    _, _, own = README.partition("## Your own data")
    shell = Shell(tmp_path, PRICE_SOURCE="mock")
    assert shell("market-spine sample-data finra --out written --weeks 4 --rows 50") is not None
    words = {"tier1": "nms_tier_1", "tier2": "nms_tier_2", "otc": "otc"}
    (tmp_path / "data/finra").mkdir(parents=True)
    for file in (tmp_path / "written").iterdir():
        from spine.domains.finra.otc_transparency.source import parse_name

        named = parse_name(file.name)
        assert named is not None
        word = words[file.name.split("_")[3]]
        pattern = {"otc": "otc_week_2025-11-21.csv"}.get(word, f"{word}_week_...")
        assert pattern in own
        file.rename(tmp_path / f"data/finra/{word}_week_{named.week_ending}.csv")
    simulator = subprocess.Popen(
        [sys.executable, "-m", "market_spine", "simulate", "finra", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=shell.environ,
        cwd=tmp_path,
    )
    try:
        assert simulator.stdout is not None
        shell.environ["FINRA_API_URL"] = simulator.stdout.readline().strip()
        answers = {line: done for line in examples(own.partition("\n## ")[0]) if (done := shell(line))}
    finally:
        simulator.terminate()
        simulator.wait()
        assert simulator.stdout is not None
        simulator.stdout.close()
    assert len(answers) == 3
    assert [(line, done.stdout, done.stderr) for line, done in answers.items() if done.returncode] == []
    assert "12 succeeded" in next(iter(answers.values())).stdout
