"""A store with a long enough past to be damaged in many ways, and the ways."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from market_spine import registry
from market_spine.app.decisions import Asked
from market_spine.compose import Hooks, run_decision
from market_spine.core.notice import Notice
from market_spine.store import open_reader, open_writer, parse_url
from spine.domains.finra.otc_transparency.sample_data import write_sample_data
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule
from spine.domains.market_data.scheduler import run_prices_schedule


def fill(db: str, folder: Path) -> None:
    """FINRA's weeks in columns and prices in rows: loaded, restated, saved otherwise, held, accepted, taken back."""
    minutes = count()

    def hooks() -> Hooks:
        ticks = count()
        base = datetime(2025, 12, 23, 12, tzinfo=UTC) + timedelta(minutes=next(minutes))
        return Hooks(clock=lambda: base + timedelta(milliseconds=next(ticks)))

    def write(**changes: Any) -> None:
        whole = {"weeks": 3, "tiers": ("OTC",), "rows": 60, "seed": 5, "run_date": date(2025, 12, 23), "non_ats": True}
        write_sample_data(folder, **{**whole, **changes})

    def load(**flags: Any) -> Any:
        usual = {"data_dir": str(folder), "tiers": "OTC", "lookback_weeks": 3, "run_date": "2025-12-23", "db": db}
        return run_finra_schedule(hooks=hooks(), **{**usual, **flags})

    def ask(key: str = "", **asked: Any) -> Any:
        return run_decision(
            Asked(reason="tried", **asked), key, by="ann", mode="run", domain=None, db=db, hooks=hooks()
        )

    def tell() -> None:
        seen = datetime(2025, 12, 23, 12, tzinfo=UTC)
        keys = ("2025-11-07|OTC", "2025-11-14|OTC")
        with open_writer(parse_url(db), registry.domains(), clock=hooks().clock) as writer:
            for key in keys:
                notice = Notice("webhook", "finra.otc_transparency", key, "late", seen, "opened", "error")
                writer.record_notices([notice])

    write()
    load()
    tell()
    write(revise=True)
    load()
    files = sorted(folder.iterdir())
    newest = files[-1]
    whole = newest.read_bytes()
    newest.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert load().exit_code == 0
    lines = whole.decode().splitlines(keepends=True)
    newest.write_text("".join([*lines[:3], lines[3].replace("|", "|-", 6), *lines[4:]]))
    load()
    other = next(path for path in files if "non_ats" in path.name and path.name[-12:] == newest.name[-12:])
    ats = next(path for path in files if "non_ats" not in path.name and path.name[-12:] == newest.name[-12:])
    kept = {path: path.read_bytes() for path in (other, ats)} | {newest: whole}
    for path in (other, ats):
        path.write_bytes(b"".join(kept[path].splitlines(keepends=True)[:8]))
    (held,) = [run for run in load().runs if run.status == "failed"]
    assert ask(verb="accept", capture_id=_last_capture(db, held.partition_key)).exit_code == 0
    assert ask(verb="retract", capture_id=_last_capture(db, held.partition_key)).exit_code == 0
    for path, data in kept.items():
        path.write_bytes(data)
    load(lookback_weeks=4)
    late = next(each for each in load(lookback_weeks=4).anomalies if each.kind == "late")
    assert ask(late.partition_key, verb="ack", kind="late").exit_code == 0
    for symbols in ("AAPL,MSFT", "AAPL,MSFT,IBM"):
        loaded = run_prices_schedule(symbols=symbols, source="mock", db=db, run_date="2025-12-23", hooks=hooks())
        assert loaded.exit_code == 0


def _last_capture(db: str, key: str) -> str:
    """The capture of a week that came last."""
    with open_reader(parse_url(db), registry.domains()) as reader:
        return reader.known("finra.otc_transparency", [key])[key].captures[-1]


class Damage(NamedTuple):
    """One way to damage a store.

    Attributes:
        sql: what is done, on every store that has the tables.
        check: the check that finds it.
        said: what its message says.
        deep: only looking closer finds it.
        stores: where it can be done.
    """

    sql: str
    check: str
    said: str
    deep: bool = False
    stores: tuple[str, ...] = ("sqlite", "postgresql")


_ONE = "(SELECT MAX(manifest_id) FROM core_manifest WHERE stage = '{}' AND status = 'committed')"
INGEST, NORMALIZE, CALC, ROLLING = (_ONE.format(stage) for stage in ("ingest", "normalize", "calc", "rolling"))
COLUMNS, ROWS = ("sqlite",), ("postgresql",)
_PRICES, _DAILY = "market_data_prices_versions", "market_data_prices_daily_versions"
_LAST_PRICE = f"symbol = 'AAPL' AND trade_date = (SELECT MAX(trade_date) FROM {_PRICES})"
_VOLUME = "finra_otc_venue_volume_versions"
_CLOSED = "superseded_by = (SELECT MAX(superseded_by) FROM core_closures)"
_LATER = "'2025-12-30T00:00:00.000000+00:00'"
_EARLIER = "'2025-12-20T00:00:00.000000+00:00'"


def _manifest(change: str, which: str = NORMALIZE) -> str:
    return f"UPDATE core_manifest SET {change} WHERE manifest_id = {which}"


SEEN_AT_ONCE = [
    # Rows, and what brought and closed them.
    Damage(f"DELETE FROM {_PRICES} WHERE {_LAST_PRICE}", "rows", "AAPL|mock"),
    Damage(f"INSERT INTO {_DAILY} SELECT * FROM {_DAILY} WHERE symbol = 'IBM'", "rows", "market_data_prices_daily"),
    Damage(f"UPDATE {_VOLUME} SET superseded_by = NULL WHERE superseded_by IS NOT NULL", "rows", "2025-11-21|OTC"),
    Damage(f"UPDATE {_DAILY} SET superseded_by = manifest_id WHERE symbol = 'IBM'", "rows", "IBM|mock"),
    Damage(f"UPDATE {_PRICES} SET superseded_by = 9999 WHERE {_LAST_PRICE}", "manifest", "superseded_by"),
    Damage("DELETE FROM finra_otc_symbol_rolling_versions", "rows", "finra_otc_symbol_rolling"),
    Damage(f"DELETE FROM core_manifest WHERE manifest_id = {CALC}", "manifest", "not in the manifest"),
    Damage(f"DELETE FROM core_manifest WHERE manifest_id = {INGEST}", "manifest", "not in the manifest"),
    # Segments and closures.
    Damage("DELETE FROM core_segments WHERE segment_id = 1", "rows", "2025-11-07|OTC", stores=COLUMNS),
    Damage("DELETE FROM core_segment_data WHERE segment_id = 2", "segments", "no data", stores=COLUMNS),
    Damage("UPDATE core_segment_data SET data = substr(data, 2)", "segments", "of their size", stores=COLUMNS),
    Damage(
        "INSERT INTO core_segment_data SELECT 99, data FROM core_segment_data WHERE segment_id = 1",
        "segments",
        "belong to no segment",
        stores=COLUMNS,
    ),
    Damage(
        "INSERT INTO core_segments SELECT 99, table_name, partition_key, manifest_id, superseded_by, row_count,"
        " closed, schema_id, size, sha256 FROM core_segments WHERE segment_id = 1",
        "rows",
        "2025-11-07|OTC",
        stores=COLUMNS,
    ),
    Damage(
        "UPDATE core_segments SET row_count = row_count + 1 WHERE segment_id = 1",
        "rows",
        "2025-11-07|OTC",
        stores=COLUMNS,
    ),
    Damage(
        f"UPDATE core_segments SET superseded_by = {NORMALIZE} WHERE segment_id = 1",
        "rows",
        "another's entry",
        stores=COLUMNS,
    ),
    Damage("DELETE FROM core_segment_schemas", "segments", "no columns", stores=COLUMNS),
    Damage("UPDATE core_segment_schemas SET columns = '[['", "segments", "cannot be read", stores=COLUMNS),
    Damage(f"DELETE FROM core_closures WHERE {_CLOSED}", "segments", "as many closures", stores=COLUMNS),
    Damage(
        "INSERT INTO core_closures SELECT 1, 3, MAX(superseded_by) FROM core_closures",
        "segments",
        "as many closures",
        stores=COLUMNS,
    ),
    Damage(
        "UPDATE core_closures SET row_number = 99999 WHERE row_number = (SELECT MAX(row_number) FROM core_closures)",
        "segments",
        "not there",
        stores=COLUMNS,
    ),
    Damage(f"UPDATE core_closures SET superseded_by = {NORMALIZE}", "rows", "2025-11-21|OTC", stores=COLUMNS),
    # The manifest.
    Damage(_manifest("scope = '{broken'", INGEST), "manifest", "cannot be read"),
    Damage(_manifest("scope = '[1]'", INGEST), "manifest", "no object"),
    Damage(_manifest("input_captures = 'null'"), "manifest", "list of texts"),
    Damage(_manifest("source_hash = 'x'"), "manifest", "source_hash"),
    Damage(_manifest("source_hash = 'x'", INGEST), "manifest", "source_hash"),
    Damage(_manifest("capture_id = 'x'", CALC), "manifest", "no ingest entry brought"),
    Damage(_manifest("status = 'maybe'"), "manifest", "maybe"),
    Damage(_manifest("rows_added = rows_added + 1"), "rows", "brought"),
    Damage(_manifest("rows_removed = rows_removed + 1", ROLLING), "rows", "closed"),
    Damage(_manifest(f"committed_at = {_LATER}"), "manifest", "committed at"),
    Damage(_manifest(f"committed_at = {_EARLIER}", CALC), "manifest", "committed at"),
    Damage(_manifest(f"committed_at = {_EARLIER}", ROLLING), "manifest", "committed at"),
    Damage(_manifest(f"captured_at = {_EARLIER}"), "manifest", "its capture came"),
    Damage("UPDATE core_manifest SET captured_at = committed_at WHERE stage = 'rolling'", "manifest", "capture came"),
    Damage(_manifest("committed_at = 'yesterday'"), "manifest", "is none", stores=COLUMNS),
    Damage(
        "UPDATE core_manifest SET committed_at = (SELECT MAX(committed_at) FROM core_manifest)"
        " WHERE manifest_id = (SELECT MIN(manifest_id) FROM core_manifest)",
        "manifest",
        "another partition",
    ),
    # Captures and payloads.
    Damage(
        "DELETE FROM core_capture_parts WHERE part = (SELECT MIN(part) FROM core_capture_parts)",
        "manifest",
        "source_hash",
    ),
    Damage("UPDATE core_capture_parts SET part = 'x' WHERE part = 'NON_ATS'", "manifest", "source_hash"),
    Damage("UPDATE core_capture_parts SET metadata = 'x'", "manifest", "core_capture_parts"),
    Damage("UPDATE core_capture_parts SET size = size + 1", "payloads", "bytes"),
    Damage("DELETE FROM core_payloads WHERE sha256 = (SELECT MAX(sha256) FROM core_payloads)", "payloads", "missing"),
    Damage("UPDATE core_payloads SET size = 5", "payloads", "5 bytes"),
    # What was observed, told and decided.
    Damage("DELETE FROM core_decisions WHERE verb = 'accept'", "decisions", "missing"),
    Damage("DELETE FROM core_decisions WHERE verb = 'retract'", "decisions", "no decision says so"),
    Damage("UPDATE core_decisions SET verb = 'forget' WHERE verb = 'ack'", "decisions", "no decision"),
    Damage("UPDATE core_decisions SET capture_id = 'x' WHERE verb = 'retract'", "decisions", "no entry"),
    Damage(f"UPDATE core_decisions SET decided_at = {_EARLIER} WHERE verb = 'ack'", "decisions", "before its run"),
    Damage("UPDATE core_decisions SET decided_at = 'soon'", "decisions", "cannot be read", stores=COLUMNS),
    Damage("DELETE FROM core_anomaly_events WHERE event_id = 2", "anomalies", "missing"),
    Damage("UPDATE core_anomaly_events SET details = '{'", "anomalies", "cannot be read"),
    Damage("UPDATE core_anomaly_events SET event = 'forgotten'", "anomalies", "cannot be read"),
    Damage(f"UPDATE core_anomaly_events SET occurred_at = {_EARLIER} WHERE event_id = 3", "anomalies", "before"),
    Damage("UPDATE core_anomaly_events SET kind = 'other' WHERE event = 'resolved'", "anomalies", "never seen"),
    Damage("DELETE FROM core_notifications WHERE notification_id = 1", "notices", "missing"),
    Damage(f"UPDATE core_notifications SET sent_at = {_EARLIER} WHERE notification_id = 2", "notices", "before"),
    Damage("UPDATE core_run_ends SET result = '{'", "runs", "cannot be read"),
    Damage("UPDATE core_run_ends SET status = 'success', exit_code = 0", "runs", "status"),
    Damage("UPDATE core_run_ends SET failed = 7", "runs", "failed"),
    Damage(f"UPDATE core_run_ends SET recorded_at = {_EARLIER}", "runs", "before it began"),
    Damage("UPDATE core_run_starts SET document = 'x'", "runs", "cannot be read"),
    Damage("UPDATE core_run_starts SET scheduler = 'x'", "runs", "scheduler"),
    Damage("DELETE FROM core_run_partitions WHERE position = 2", "runs", "core_run_partitions"),
    Damage("DELETE FROM core_run_partitions", "runs", "core_run_partitions"),
    Damage("UPDATE core_run_partitions SET status = 'completed', reason = NULL", "runs", "core_run_partitions"),
    Damage(f"UPDATE core_window_checks SET checked_through = {_LATER}", "windows", "nothing was committed"),
]
"""Found by counting and by comparing records."""

OBJECTS = [
    Damage("DROP INDEX core_manifest_moment", "indexes", "core_manifest_moment"),
    Damage(
        "DROP INDEX core_manifest_capture; CREATE INDEX core_manifest_capture ON core_manifest (stage)",
        "indexes",
        "not as declared",
    ),
    Damage("DROP INDEX market_data_prices_scope", "indexes", "market_data_prices"),
    Damage("DROP VIEW market_data_prices", "views", "market_data_prices"),
    Damage(
        "DROP VIEW core_runs; CREATE VIEW core_runs AS SELECT * FROM core_run_ends WHERE status = 'success'",
        "views",
        "core_runs",
    ),
    Damage(
        "DROP VIEW market_data_symbol_week; CREATE VIEW market_data_symbol_week AS SELECT 1 AS one",
        "views",
        "market_data_symbol_week",
    ),
    Damage(
        "DROP VIEW finra_otc_symbol_week; CREATE VIEW finra_otc_symbol_week AS SELECT 1 AS one",
        "views",
        "finra_otc_symbol_week",
        stores=ROWS,
    ),
    Damage("DROP VIEW market_data_splits; DROP TABLE market_data_splits_versions", "tables", "market_data_splits"),
    Damage("DROP TABLE core_window_checks", "tables", "core_window_checks"),
    Damage("DROP TABLE core_run_partitions", "tables", "core_run_partitions"),
    Damage("DROP TABLE core_closures", "tables", "core_closures", stores=COLUMNS),
    Damage("DROP SEQUENCE core_manifest_ids", "integrity", "core_manifest_ids", stores=ROWS),
    Damage("SELECT setval('core_manifest_ids', 1)", "integrity", "behind the manifest", stores=ROWS),
]
"""Found by comparing with declarations, and mended by ``db upgrade``."""

LOST = [
    Damage("DROP TABLE core_payloads", "tables", "core_payloads"),
    Damage("ALTER TABLE core_decisions DROP COLUMN reason", "tables", "reason is missing"),
    Damage("ALTER TABLE core_rejects RENAME COLUMN rule TO law", "tables", "rule is missing"),
    Damage("ALTER TABLE market_data_splits_versions RENAME COLUMN ex_date TO day", "tables", "ex_date"),
    Damage("ALTER TABLE core_rejects ADD COLUMN more TEXT NOT NULL DEFAULT 'x'", "tables", "more is not declared"),
    Damage("ALTER TABLE core_manifest ALTER COLUMN scope DROP NOT NULL", "tables", "scope", stores=ROWS),
    Damage("ALTER TABLE core_manifest DROP CONSTRAINT core_manifest_pkey", "tables", "key", stores=ROWS),
    Damage(
        'ALTER TABLE core_capture_parts ALTER COLUMN origin TYPE TEXT COLLATE "POSIX"', "tables", "locale", stores=ROWS
    ),
    Damage(
        "CREATE TRIGGER meddle AFTER INSERT ON core_manifest BEGIN DELETE FROM core_rejects; END",
        "indexes",
        "meddle",
        stores=COLUMNS,
    ),
    Damage("CREATE RULE meddle AS ON INSERT TO core_rejects DO INSTEAD NOTHING", "indexes", "meddle", stores=ROWS),
]
"""Found likewise, and beyond what ``db upgrade`` can mend."""
