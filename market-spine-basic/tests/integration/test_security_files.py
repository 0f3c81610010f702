"""Files stay in their folder, and what they expand to stays within bounds."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from market_spine import registry
from market_spine.compose import utc_now
from market_spine.store import open_reader, parse_url
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

RUN_DATE = "2025-12-23"


def test_files_beside_the_folder_are_not_read(tmp_path: Path) -> None:
    """Names that would lead out of the folder, folders, pipes and devices named like a week's file are not read, and
    do not hang the run; a link is read as the file it leads to, and refused when that is no weekly file."""
    data = tmp_path / "data"
    write_sample_data(data, weeks=1, tiers=("OTC",), rows=40, seed=2, run_date=date.fromisoformat(RUN_DATE))
    (genuine,) = data.iterdir()
    inner = tmp_path / "odd"
    inner.mkdir()
    (inner / "otc_week_2025-11-14.csv").mkdir()
    os.mkfifo(inner / "otc_non_ats_week_2025-11-21.csv")
    (inner / "otc_week_2025-11-07.csv").symlink_to("/dev/zero")
    (inner / "otc_week_2025-11-21.csv").symlink_to(genuine)
    secret = tmp_path / "secret.txt"
    secret.write_text("root:x:0:0:hush-hush\n")
    (inner / "otc_week_2025-10-31.csv").symlink_to(secret)
    db = str(tmp_path / "files.db")
    weeks = "2025-10-31,2025-11-07,2025-11-14,2025-11-21"
    result = run_finra_schedule(db=db, data_dir=str(inner), tiers="OTC", weeks=weeks, run_date=RUN_DATE)
    found = {run.partition_key[:10]: (run.error.kind if run.error else str(run.status)) for run in result.runs[:4]}
    assert found["2025-11-07"] == found["2025-11-14"] == "late"
    assert found["2025-10-31"] not in ("late", "completed")
    assert result.stats.succeeded == 1
    with open_reader(parse_url(db), registry.domains(), clock=utc_now) as reader:
        assert reader.query("SELECT COUNT(*) FROM core_payloads").rows == [(1,)]


@contextmanager
def measured() -> Iterator[list[int]]:
    """The peak memory, in bytes, of the processes that ended inside."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak: list[int] = []
    yield peak
    peak.append(max(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, before) * 1024)


def bomb(form: str) -> bytes:
    """Some kilobytes that stand for 16 gigabytes of zeros."""
    zeros = bytes(1 << 26)
    if form == "gz":
        return gzip.compress(zeros, 9) * 256
    import zstandard

    return zstandard.ZstdCompressor(level=3).compress(zeros) * 256


@pytest.mark.process
@pytest.mark.parametrize("form", ["gz", "zst"])
def test_a_decompression_bomb_is_refused_within_bounds(tmp_path: Path, form: str) -> None:
    """A file that would expand to 16 GB is refused as too large; the process never takes more than 1.5 GB."""
    folder = tmp_path / "bombs"
    folder.mkdir()
    (folder / f"otc_week_2025-11-21.csv.{form}").write_bytes(bomb(form))
    flags: Sequence[str] = ["--weeks", "2025-11-21", "--tiers", "OTC", "--run-date", RUN_DATE, "--json"]
    command = [sys.executable, "-m", "market_spine", "schedule", "finra", *flags, "--data-dir", str(folder)]
    with measured() as peak:
        done = subprocess.run([*command, "--db", "b.db"], cwd=tmp_path, capture_output=True, text=True, check=False)
    (failed,) = json.loads(done.stdout)["runs"]
    assert (done.returncode, failed["error"]["kind"]) == (1, "too_large")
    assert peak[0] < 1.5e9
