"""Metrics: read from the database, the same as what status and runs say, written at once or not at all."""

from __future__ import annotations

import builtins
import json
import os
import re
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from market_spine.compose import ledger, reader, utc_now
from market_spine.core.quota import PlannedCall
from market_spine.notify.metrics import render, text
from market_spine.registry import domains

Labels = tuple[tuple[str, str], ...]
RUN = (("domain", "harbor"), ("scheduler", "daily_landings"))


def samples(text: str) -> dict[tuple[str, Labels], float]:
    """Every sample, by name and labels, as Prometheus reads it."""
    return {
        (sample.name.removeprefix("market_spine_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def render_at(database: str, now: datetime) -> str:
    """The metrics as of a moment."""
    with closing(reader(database)) as store:
        return text(store, domains(), now)


def of_run(found: dict[tuple[str, Labels], float], name: str, **label: str) -> float | None:
    """A metric of the tiny domain's scheduler."""
    return found.get((name, tuple(sorted((*RUN, *label.items())))))


def test_a_failing_run_does_not_hide_the_last_success(load: Callable[..., Any], quay: Path, database: str) -> None:
    """After a run that went well and one that did not, both are told: the last success is that of the first."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    load(1, 2)
    with closing(reader(database)) as store:
        bad, good = store.runs("harbor", 2)
    assert good.finished_at is not None and bad.finished_at is not None
    found = samples(render(database))
    assert of_run(found, "last_success_timestamp_seconds") == pytest.approx(good.finished_at.timestamp(), abs=1e-3)
    assert of_run(found, "last_run_timestamp_seconds") == pytest.approx(bad.started_at.timestamp(), abs=1e-3)
    took = (bad.finished_at - bad.started_at).total_seconds()
    assert of_run(found, "last_run_duration_seconds") == pytest.approx(took, abs=1e-6)
    status = {each: of_run(found, "last_run_status", status=each) for each in ("success", "partial", "failure")}
    assert status == {"success": 0, "partial": 1, "failure": 0}
    counts = {each: of_run(found, "last_run_partitions", outcome=each) for each in ("attempted", "failed", "skipped")}
    assert counts == {"attempted": 2, "failed": 1, "skipped": 1}
    assert of_run(found, "last_run_pipeline_seconds", pipeline="harbor.ingest_day") is not None


def test_a_run_without_an_end_is_unfinished(load: Callable[..., Any], quay: Path, database: str) -> None:
    """A run that was killed is the latest run, without a duration."""
    from market_spine.app.recording import run_start
    from market_spine.store import open_writer, parse_url

    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    moment = datetime.now(UTC) + timedelta(minutes=1)
    with open_writer(parse_url(database), domains()) as store:
        store.record_start(run_start("killed", "harbor", "daily_landings", moment, {}))
    found = samples(render(database))
    assert of_run(found, "last_run_status", status="unfinished") == 1
    assert of_run(found, "last_run_status", status="success") == 0
    assert of_run(found, "last_run_timestamp_seconds") == pytest.approx(moment.timestamp(), abs=1e-3)
    assert of_run(found, "last_run_duration_seconds") is None
    assert of_run(found, "last_success_timestamp_seconds") is not None


def test_partitions_and_anomalies_are_counted_as_status_counts_them(
    load: Callable[..., Any], cli: Callable[..., Any], quay: Path, database: str
) -> None:
    """States are those of ``status`` over the same rows, also the states that no partition is in; an anomaly that was
    set aside is not open."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    (quay / "2025-03-02.txt").write_text("<html>")
    load(1, 2, 3)
    cli("anomalies", "ack", "2025-03-03", "late", "--domain", "harbor", "--reason", "known")
    now = datetime(2025, 3, 10, 12, tzinfo=UTC)
    found = samples(render_at(database, now))
    shown = json.loads(
        cli("status", "--weeks", "53", "--run-date", "2025-03-10", "--domain", "harbor", "--json").stdout
    )
    counts = {
        labels[1][1]: value
        for (name, labels), value in found.items()
        if name == "partitions" and labels[0] == ("domain", "harbor")
    }
    assert {state: count for state, count in counts.items() if count} == shown[0]["counts"]
    assert {"held", "not_due", "failed"} < set(counts)
    anomalies = {labels: value for (name, labels), value in found.items() if name == "open_anomalies"}
    assert anomalies == {(("domain", "harbor"), ("kind", "html"), ("severity", "error")): 1}


def test_lateness_counts_from_the_end_of_the_day_of_publication(database: str) -> None:
    """A week of FINRA's that was to be published on Monday, and is not there on Thursday at noon, is 2.5 days late."""
    from market_spine.store import open_writer, parse_url
    from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule

    folder = Path(database).parent if not database.startswith("postgres") else Path.cwd()
    with open_writer(parse_url(database), domains()):
        pass
    # Tier 1 of the week that ended on 2025-11-28 was published on Monday 2025-12-15.
    flags: dict[str, Any] = {"weeks": "2025-11-28", "tiers": "NMS_TIER_1", "data_dir": str(folder)}
    assert run_finra_schedule(db=database, run_date="2025-12-18", **flags).exit_code == 1
    found = samples(render_at(database, datetime(2025, 12, 18, 12, tzinfo=UTC)))
    late = found["oldest_late_seconds", (("domain", "finra.otc_transparency"),)]
    assert late == 2.5 * 86400


def test_calls_to_vendors_are_counted(load: Callable[..., Any], database: str) -> None:
    """The quota ledger's calls are a counter by source."""
    load(1)
    with closing(ledger(database, None)()) as calls:
        for subject in ("AAPL", "MSFT", "AAPL"):
            calls.reserve(
                PlannedCall("polygon", "k", subject, "me"), (), floor=timedelta(), patience=timedelta(hours=1)
            )
    assert samples(render(database))["source_requests_total", (("source", "polygon"),)] == 3


def test_no_label_names_a_partition(load: Callable[..., Any], quay: Path, database: str) -> None:
    """However many partitions there are, the samples are as many, and no label holds one of their keys."""
    sizes = []
    for days in ((1,), (1, 2, 3, 4, 5, 6)):
        for day in days:
            (quay / f"2025-03-0{day}.txt").write_text("ada 10\n")
        load(*days)
        written = render(database)
        assert "2025-03" not in written
        assert "run_id" not in written
        sizes.append(len(samples(written)))
    assert sizes[0] == sizes[1]
    allowed = {"domain", "scheduler", "state", "kind", "severity", "status", "outcome", "pipeline", "source", "version"}
    assert set(re.findall(r'[{,](\w+)="', written)) <= allowed


def test_the_file_is_written_at_once(load: Callable[..., Any], quay: Path, tmp_path: Path, database: str) -> None:
    """``--metrics-file`` leaves a whole file and nothing beside it; it says what the command says."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    path = tmp_path / "out" / "market_spine.prom"
    path.parent.mkdir()
    assert load(1, flags=("--metrics-file", str(path))).code == 0
    assert [each.name for each in path.parent.iterdir()] == ["market_spine.prom"]
    written = samples(path.read_text())
    assert written.keys() == samples(render(database)).keys()
    inode = path.stat().st_ino
    assert load(1, 2, flags=("--metrics-file", str(path))).code == 2
    assert path.stat().st_ino != inode, "it is replaced, not written into"
    assert of_run(samples(path.read_text()), "last_run_status", status="partial") == 1


def test_a_file_that_cannot_be_written_is_a_log_line(load: Callable[..., Any], quay: Path, tmp_path: Path) -> None:
    """A folder that is not there costs neither the result nor the exit code."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    done = load(1, flags=("--metrics-file", str(tmp_path / "absent" / "x.prom")))
    assert done.code == 0
    assert "cannot be written: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_writes_no_metrics(load: Callable[..., Any], quay: Path, tmp_path: Path) -> None:
    """A dry run writes nothing, this file included."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    assert load(1, flags=("--mode", "dry-run", "--metrics-file", str(tmp_path / "x.prom"))).code == 0
    assert not (tmp_path / "x.prom").exists()


def test_without_the_extra_it_is_said_which(
    load: Callable[..., Any], cli: Callable[..., Any], quay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where prometheus_client is not installed the command names the extra, and a run goes on without metrics."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    original = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "prometheus_client":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    done = load(1, flags=("--metrics-file", str(tmp_path / "x.prom")))
    assert done.code == 0
    assert "metrics need prometheus_client" in done.stderr
    done = cli("metrics")
    assert done.code == 1
    assert "pip install 'market-spine-basic[metrics]'" in done.stderr


def test_the_command_writes_what_promtool_reads(load: Callable[..., Any], cli: Callable[..., Any], quay: Path) -> None:
    """``market-spine metrics`` writes the text format to stdout, each family with its help and its type."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    done = cli("metrics")
    assert (done.code, done.stderr) == (0, "")
    families = list(text_string_to_metric_families(done.stdout))
    assert len(families) == 11
    assert all(family.documentation and family.type in ("gauge", "counter") for family in families)
    assert all(family.name.startswith("market_spine_") for family in families)
    assert (
        utc_now().timestamp() - 3600 < samples(done.stdout)["last_run_timestamp_seconds", RUN] <= utc_now().timestamp()
    )
    assert os.linesep + os.linesep not in done.stdout
