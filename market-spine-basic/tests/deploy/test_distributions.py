"""The distributions: built, installed into an empty environment outside the checkout, and run from there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.deploy_check.tools import REPOSITORY

pytestmark = pytest.mark.process

FOLDERS = ("market-spine-basic", "packages/spine-domains")
DAY = "2025-12-23"


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that must end well, with none of this process's Python settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FINRA_", "DATA"))}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env={**inherited, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both wheels and both source archives."""
    folder = tmp_path_factory.mktemp("dist")
    for name in FOLDERS:
        run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=REPOSITORY / name)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the runtime lock and the two wheels, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    pip = (folder / "env/bin/python", "-m", "pip", "install", "--quiet")
    locked = ("--require-hashes", "--only-binary", ":all:", "--requirement", REPOSITORY / "requirements-runtime.lock")
    run(*pip, *locked, cwd=folder)
    run(*pip, "--no-deps", "--no-index", *built.glob("*.whl"), cwd=folder)
    return folder


def test_the_main_job_runs_from_the_wheels(installed: Path) -> None:
    """From the wheels alone the job loads twelve partitions, skips them again, and the database is sound."""
    program = installed / "env/bin/market-spine"
    run(program, "sample-data", "finra", "--out", "data/finra", "--weeks", "4", "--run-date", DAY, cwd=installed)
    first = json.loads(run(program, "schedule", "finra", "--run-date", DAY, "--json", cwd=installed).stdout)
    assert (first["status"], first["stats"]["succeeded"]) == ("success", 12)
    again = json.loads(run(program, "schedule", "finra", "--run-date", DAY, "--json", cwd=installed).stdout)
    assert (again["stats"]["skipped"], again["stats"]["failed"]) == (12, 0)
    run(program, "db", "check", cwd=installed)
    count = "SELECT COUNT(*) > 0 AS loaded FROM finra_otc_venue_volume"
    assert run(program, "query", count, "--format", "csv", cwd=installed).stdout.split() == ["loaded", "true"]
    mock = ("--symbols", "AAPL", "--source", "mock", "--sleep", "0", "--run-date", DAY, "--json")
    prices = json.loads(run(program, "schedule", "prices", *mock, cwd=installed).stdout)
    assert (prices["status"], prices["stats"]["succeeded"]) == ("success", 1)
    where = "import market_spine, spine.domains.finra.otc_transparency as f; print(market_spine.__file__, f.__file__)"
    assert str(REPOSITORY) not in run(installed / "env/bin/python", "-c", where, cwd=installed).stdout


def test_the_guides_script_runs_from_the_wheels(installed: Path) -> None:
    """A copy of the guide's script, away from the checkout, finds the installed packages."""
    script = installed / "schedule_finra.py"
    script.write_bytes((REPOSITORY / "scripts/schedule_finra.py").read_bytes())
    said = run(installed / "env/bin/python", script, "--help", cwd=installed).stdout
    assert "--lookback-weeks" in said


def test_source_archives_pass_their_tests_of_the_contract(built: Path, installed: Path, tmp_path: Path) -> None:
    """Unpacked source archives bring the tests of the contract, which pass against the installed wheels."""
    for archive in built.glob("*.tar.gz"):
        with tarfile.open(archive) as packed:
            packed.extractall(tmp_path, filter="data")
    platform, domains = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    tests = [platform / "tests/unit/test_contract.py", *sorted(domains.glob("tests/*/test_contract.py"))]
    (site,) = installed.glob("env/lib/python3*/site-packages")
    pytest_options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", tmp_path)
    # Hypothesis's own profile for CI: no test is too slow, each run tries the same.
    settings = {"PYTHONPATH": str(site), "CI": "true"}
    done = run(sys.executable, "-m", "pytest", *pytest_options, *tests, cwd=tmp_path, **settings)
    counts = re.search(r"(\d+) passed, (\d+) skipped", done.stdout)
    assert counts is not None, done.stdout
    assert int(counts[1]) > 60
    # One compares with docs/, and each of three domains asks for a PostgreSQL, which a pytest alone does not start.
    assert int(counts[2]) == 4
    assert len(tests) >= 2


def test_a_wheel_made_from_a_source_archive_is_the_same(built: Path, tmp_path: Path) -> None:
    """Building from a source archive gives the same wheel, version and all, as building from the checkout."""
    for archive in built.glob("*.tar.gz"):
        with tarfile.open(archive) as packed:
            packed.extractall(tmp_path, filter="data")
    for source in sorted(path for path in tmp_path.iterdir() if path.is_dir()):
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again", cwd=source)
    wheels = sorted(path.name for path in built.glob("*.whl"))
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == wheels
    for name in wheels:
        with zipfile.ZipFile(built / name) as one, zipfile.ZipFile(tmp_path / "again" / name) as other:
            assert {each.filename: each.CRC for each in one.infolist()} == {
                each.filename: each.CRC for each in other.infolist()
            }


def test_wheels_hold_all_data_and_the_licence(built: Path) -> None:
    """Every file of the packages that git has is in a wheel, migrations and markers included, and so is the licence."""
    held: set[str] = set()
    for wheel in built.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            names = packed.namelist()
        assert [name for name in names if name.endswith("licenses/LICENSE")]
        held |= set(names)
    listing = ["git", "ls-files", *(f"{folder}/src" for folder in FOLDERS)]
    tracked = run(*listing, cwd=REPOSITORY).stdout.split()
    assert {name.partition("/src/")[2] for name in tracked} - held == set()


def test_the_changelog_begins_with_the_version() -> None:
    """The version of both distributions is the changelog's newest section."""
    changelog = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    (version,) = re.findall(
        r'^__version__ = "(.+)"$', (REPOSITORY / FOLDERS[0] / "src/market_spine/__init__.py").read_text("utf-8"), re.M
    )
    sections = re.findall(r"^## \[(.+?)\] - (unreleased|\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert sections[0][0] == version
    assert [status for _, status in sections[1:] if status == "unreleased"] == []
