"""The flags that choose partitions, on a domain that knows nothing of them."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.usefixtures("harbor")
def test_every_scheduler_takes_an_exact_set_and_states(tmp_path: Path) -> None:
    """A domain that only says what it has is narrowed by ``--partitions`` and ``--only`` all the same."""
    from harbor import run_harbor

    db = str(tmp_path / "spine.db")
    for day in ("01", "02", "03"):
        (tmp_path / f"2025-03-{day}.txt").write_text("ada 10\n")
    days = "2025-03-01,2025-03-02,2025-03-03"
    named = run_harbor(tmp_path, days, db=db, partitions="2025-03-02")
    assert [run.partition_key for run in named.runs if run.pipeline.startswith("harbor.ingest")] == ["2025-03-02"]
    rest = run_harbor(tmp_path, days, db=db, only=["not_loaded", "late"])
    assert {run.partition_key for run in rest.runs if run.pipeline.startswith("harbor.ingest")} == {
        "2025-03-01",
        "2025-03-03",
    }
    assert rest.config["only"] == ["late", "not_loaded"]
    idle = run_harbor(tmp_path, days, db=db, only="not_loaded")
    assert (idle.exit_code, idle.stats.attempted) == (0, 0)
    wrong = run_harbor(tmp_path, days, db=db, partitions="yesterday")
    assert wrong.error is not None
    assert (wrong.exit_code, wrong.error.kind, wrong.error.message[:13]) == (1, "usage", "--partitions:")
