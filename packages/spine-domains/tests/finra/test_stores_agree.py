"""The same weeks, restated, in SQLite and in PostgreSQL: every answer of every command is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from market_spine.cli.main import root, run
from market_spine.compose import Hooks
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

RUN_DATE = date(2025, 12, 23)
WEEKS = 2
MANIFEST = (
    "manifest_id, partition_key, stage, status, capture_id, fingerprint, source_hash, content_hash, row_count,"
    " rejected, duplicates, is_revision, rows_added, rows_removed, rows_changed, input_captures, scope,"
    " committed_at, captured_at"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """Two folders: weeks as first published, and as restated later, with lines that are no rows."""
    folders = [tmp_path_factory.mktemp("files") for _ in range(2)]
    for number, folder in enumerate(folders):
        wanted = {"weeks": WEEKS, "tiers": ("OTC", "NMS_TIER_2"), "rows": 400, "seed": 5, "run_date": RUN_DATE}
        write_sample_data(folder, **wanted, non_ats=True)  # type: ignore[arg-type]
        if number:
            write_sample_data(folder, **wanted, revise=True)  # type: ignore[arg-type]
        with next(iter(sorted(folder.iterdir()))).open("ab") as file:
            file.write('not|a|row, "|of this file|é|2|3|4\n'.encode())
    return folders


def _load(db: str, files: Sequence[Path]) -> None:
    ticks = count()
    clock = Hooks(clock=lambda: datetime(2025, 12, 23, 12, tzinfo=UTC) + timedelta(milliseconds=next(ticks)))
    for folder in files:
        result = run_finra_schedule(
            lookback_weeks=WEEKS,
            tiers="OTC,NMS_TIER_2",
            data_dir=str(folder),
            db=db,
            run_date=RUN_DATE,
            hooks=clock,
        )
        assert result.exit_code == 0, result.to_json()


def test_both_stores_answer_alike(
    files: Sequence[Path], new_postgres: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables now and as of each capture, the manifest, status, captures, diff and anomalies are equal to the byte."""
    addresses = (str(tmp_path / "spine.db"), new_postgres())
    for db in addresses:
        _load(db, files)
    key = "2025-11-21|OTC"
    first, second = (f"{DOMAIN.name}:OTC:2025-11-21:20251223{suffix}" for suffix in ("", ".2"))
    names = [*(table.name for table in DOMAIN.tables), *(view.name for view in DOMAIN.views)]
    everything = [f"SELECT * FROM {name} ORDER BY 1, 2, 3, 4, 5, 6, 7" for name in names]
    everything[names.index("finra_otc_market_week")] += ", 8"
    questions: list[tuple[str, ...]] = [
        ("status", "--run-date", RUN_DATE.isoformat(), "--domain", "finra", "--json"),
        ("captures", key, "--json"),
        ("diff", key, "--json"),
        ("anomalies", "--all", "--json"),
        ("query", f"SELECT {MANIFEST} FROM core_manifest ORDER BY manifest_id", "--format", "json"),
        ("query", "SELECT * FROM core_rejects ORDER BY manifest_id, part, line", "--format", "json"),
        *(("query", sql, "--format", "csv") for sql in everything),
        *(("query", sql, "--format", "csv", "--as-of", first) for sql in everything),
        ("query", everything[0], "--format", "json", "--as-of", second),
    ]
    for question in questions:
        answers = []
        for db in addresses:
            code = run(root, [*question, "--db", db], "market-spine")
            answer = capsys.readouterr()
            assert code == 0, answer.err
            answers.append(answer.out)
        assert answers[0] == answers[1], question
        assert answers[0].strip() not in ("", "[]"), question
