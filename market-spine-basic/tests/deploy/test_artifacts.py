"""What is shipped for deployment does what its pages say: schedules, the image's context, scripts."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tomllib
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from scripts.deploy_check.documents import find, load
from scripts.deploy_check.tools import REPOSITORY

NEW_YORK = ZoneInfo("America/New_York")
DAY = "2025-12-23"
PUBLISHED = [date(2025, 12, 15), date(2025, 12, 22), date(2026, 1, 20), date(2026, 2, 17), date(2026, 3, 9)]
"""Days on which FINRA published: Mondays, and the Tuesdays after Martin Luther King's and Presidents' Day."""


def schedules() -> dict[str, tuple[str, ZoneInfo]]:
    """The daily schedule of each way of running that has cron's five fields, and its zone."""
    kubernetes = (REPOSITORY / "deploy/kubernetes/base/finra.yaml").read_text("utf-8")
    crontab = (REPOSITORY / "deploy/cron/crontab").read_text("utf-8")
    gitlab = (REPOSITORY / "deploy/gitlab-ci/finra.gitlab-ci.yml").read_text("utf-8")
    workflow = load(REPOSITORY / "deploy/github-actions/finra.yml")
    (crons,) = find(workflow, "schedule")
    return {
        "kubernetes": (re.findall(r'schedule: "(.*)"', kubernetes)[0], NEW_YORK),
        "cron": (re.findall(r"^(\S+ \S+ \S+ \S+ \S+) .*weeks 4$", crontab, re.MULTILINE)[0], NEW_YORK),
        "gitlab": (re.findall(r'"(\S+ \S+ \S+ \S+ \S+)"', gitlab)[0], NEW_YORK),
        "github": (crons[0]["cron"], ZoneInfo("UTC")),
    }


@pytest.mark.parametrize("way", ["kubernetes", "cron", "gitlab", "github"])
@pytest.mark.parametrize("day", PUBLISHED, ids=str)
def test_the_daily_job_runs_the_morning_after_a_publication(way: str, day: date) -> None:
    """After a publication day has ended in New York, a shipped daily job runs before eight in the morning."""
    expression, zone = schedules()[way]
    end = datetime.combine(day, time(23, 59), NEW_YORK)
    first = next(CronSim(expression, end.astimezone(zone))).astimezone(NEW_YORK)
    assert end < first <= datetime.combine(day + timedelta(days=1), time(8), NEW_YORK)


@pytest.mark.process
def test_the_images_context_holds_what_is_copied_and_nothing_else() -> None:
    """The build context is exactly the files that the Dockerfile copies: no tests, documents, tools or databases."""
    rules = (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", (REPOSITORY / "Dockerfile").read_text("utf-8"), re.M)
        for source in line.split()
    ]
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    names += ["market-spine-basic/src/market_spine/__pycache__/x.pyc", "market-spine-basic/src/old.db", ".env"]
    context = {name for name in names if kept(name, rules)}
    assert {name for name in context if not within(name, copied)} == set()
    needed = {name for name in names if within(name, copied) and not re.search(r"/tests/|__pycache__|\.db$", name)}
    assert needed - context == {"deploy/locks/check.lock"}
    assert {source for source in copied if not any(within(name, [source]) for name in context)} == set()


def within(name: str, folders: list[str]) -> bool:
    """Whether a file is one of these, or in one of them."""
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def kept(name: str, rules: list[str]) -> bool:
    """Whether .dockerignore leaves a file in: the last rule that names it or a folder above it decides."""
    places = [name, *(str(folder) for folder in Path(name).parents)][:-1]
    answer = True
    for rule in rules:
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("!").replace("**/", "(?:.*/)?").replace("*", "[^/]*")
        pattern = pattern.replace("(?:.[^/]*/)?", "(?:.*/)?").replace(".db", r"\.db")
        if any(re.fullmatch(pattern, place) for place in places):
            answer = rule.startswith("!")
    return answer


def run_by_cron(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script that the crontab starts, with cron's few variables."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    command = [str(REPOSITORY / "deploy/cron/market-spine-cron"), *arguments]
    environment = {"HOME": str(home), "PATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_cron_hears_of_failures_only(tmp_path: Path) -> None:
    """The crontab's script is silent when a run succeeds, and gives output and exit code of one that does not."""
    sample = ["-m", "market_spine", "sample-data", "finra", "--out", str(tmp_path / "files"), "--rows", "20"]
    subprocess.run([sys.executable, *sample, "--weeks", "4", "--run-date", DAY], check=True, capture_output=True)
    (tmp_path / "market-spine.env").write_text("FINRA_DATA_DIR=files\n")
    quiet = run_by_cron(tmp_path, "schedule", "finra", "--run-date", DAY)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert (tmp_path / "data/market_spine.db").exists()
    partial = run_by_cron(tmp_path, "schedule", "finra", "--lookback-weeks", "5", "--tiers", "OTC", "--run-date", DAY)
    assert partial.returncode == 2
    assert "exit code 2" in partial.stdout
    assert "2025-10-24|OTC" in partial.stdout


@pytest.mark.process
def test_runs_of_cron_wait_for_each_other(tmp_path: Path) -> None:
    """While a run holds the lock another one waits, and it starts when the lock is free."""
    import fcntl

    command = [str(REPOSITORY / "deploy/cron/market-spine-cron"), "--version"]
    environment = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    with (tmp_path / "market-spine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
    assert waiting.wait() == 0
    assert waiting.stdout is not None
    waiting.stdout.close()


def summarise(path: Path) -> str:
    """What the script for CI systems makes of a file."""
    script = REPOSITORY / "deploy/ci/summary.py"
    return subprocess.run([sys.executable, str(script), str(path)], capture_output=True, text=True, check=True).stdout


@pytest.mark.process
def test_a_result_becomes_a_summary(tmp_path: Path) -> None:
    """The summary of a CI job has status and counts, and a row for each revised or failed run, with cells escaped."""
    result = {
        "domain": "finra.otc_transparency",
        "status": "partial",
        "stats": {"attempted": 3, "succeeded": 1, "failed": 1, "skipped": 1},
        "warnings": ["Lookback 20 exceeds max 12"],
        "runs": [
            {"partition_key": "2025-11-21|OTC", "pipeline": "f.ingest_week", "is_revision": True}
            | {"revision_summary": {"rows_added": 1, "rows_removed": 2, "rows_changed": 3}},
            {"partition_key": "2025-11-14|OTC", "pipeline": "f.ingest_week"}
            | {"error": {"kind": "late", "message": "no\nfile", "hint": "a|b"}},
            {"partition_key": "2025-11-07|OTC", "pipeline": "f.ingest_week", "is_revision": None},
        ],
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert summarise(tmp_path / "result.json").splitlines() == [
        "### finra.otc_transparency: partial",
        "",
        "3 attempted, 1 succeeded, 1 failed, 1 skipped.",
        "",
        "- Lookback 20 exceeds max 12",
        "",
        "| partition | pipeline | what |",
        "| --- | --- | --- |",
        r"| 2025-11-21\|OTC | ingest_week | revised: 1 rows_added, 2 rows_removed, 3 rows_changed |",
        r"| 2025-11-14\|OTC | ingest_week | **late**: no file (a\|b) |",
    ]


@pytest.mark.process
@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_run_without_a_result_is_summarised_as_one(text: str | None, tmp_path: Path) -> None:
    """Where a run ended before it wrote a result, the summary says so."""
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    assert "No result" in summarise(tmp_path / "result.json")


def test_the_runtime_lock_has_all_that_the_packages_ask_for() -> None:
    """Each dependency that a distribution names is pinned in the runtime lock."""
    pinned = set(runpy.run_path(str(REPOSITORY / "scripts/lock.py"))["pinned"]("requirements-runtime.lock"))
    for folder in ("market-spine-basic", "packages/spine-domains"):
        named = tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
        wanted = {re.match(r"[\w.-]+", each)[0] for each in named}  # type: ignore[index]
        assert wanted - {"market-spine-basic", "spine-domains"} <= pinned


def test_extras_have_lock_files() -> None:
    """Each extra has a lock file, which the image's build argument names, with what it adds and nothing twice."""
    script = runpy.run_path(str(REPOSITORY / "scripts/lock.py"))
    runtime = set(script["pinned"]("requirements-runtime.lock"))
    extras = script["extras"]()
    assert "simulate" in extras
    for extra in extras:
        added = set(script["pinned"](f"deploy/locks/{extra}.lock"))
        assert added
        assert added & runtime == set()
