"""What the API tests share: a simulated FINRA, schedules against it, and what a store holds afterwards."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks, Request, Selection, reader, run_schedule
from market_spine.core.ports import Reader
from market_spine.simulation import Faults, SimulatedClock, running
from market_spine.sources.http import Policy
from spine.domains.finra.otc_transparency import DOMAIN, partitions
from spine.domains.finra.otc_transparency.api.client import ApiConfig
from spine.domains.finra.otc_transparency.api.source import ApiSource
from spine.domains.finra.otc_transparency.schema import TIERS, VENUE_VOLUME
from spine.domains.finra.otc_transparency.simulator.app import FAULT_KINDS, TOKEN_PATH, Settings, finra_simulator
from spine.domains.finra.otc_transparency.simulator.market import Key, SimulatedMarket
from spine.domains.finra.otc_transparency.source import FileSource

if TYPE_CHECKING:
    import polars as pl

AT_ONCE = Policy(attempts=6, first_wait=0.0, longest_wait=0.0)
"""Retries without waiting."""


def no_sleep(_seconds: float) -> None:
    """Wait for nothing."""


@dataclass
class Simulated:
    """A running simulator."""

    url: str
    clock: SimulatedClock
    faults: Faults

    def source(self, day: str, **options: Any) -> ApiSource:
        """The API source against it, without any waiting."""
        self.clock.set(datetime.fromisoformat(day).replace(hour=23, tzinfo=UTC))
        config = ApiConfig(self.url, self.url + TOKEN_PATH, *options.pop("credentials", ("", "")))
        given = {"rate": 1e6, "policy": AT_ONCE, "sleep": no_sleep, **options}
        return ApiSource(date.fromisoformat(day), config, **given)

    def records(self, monday: str, tier: str, summary_type: str) -> list[dict[str, Any]]:
        """What a plain client reads of one query."""
        filters = {"weekStartDate": monday, "tierIdentifier": tier, "summaryTypeCode": summary_type}
        compare = [{"fieldName": name, "fieldValue": value, "compareType": "EQUAL"} for name, value in filters.items()]
        request = urllib.request.Request(
            f"{self.url}/data/group/otcMarket/name/weeklySummary",
            json.dumps({"compareFilters": compare, "limit": 5000}).encode(),
            {"Accept": "application/json", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"[]")  # type: ignore[no-any-return]


@dataclass
class Since:
    """A market whose history begins with the week of some Monday; a SimulatedMarket."""

    market: SimulatedMarket
    first: date

    def keys(self, today: date) -> Sequence[Key]:
        """The weeks of the market from the first on."""
        return [key for key in self.market.keys(today) if key.monday >= self.first]

    def summary_types(self, key: Key) -> Sequence[str]:
        """Those of the market."""
        return self.market.summary_types(key)

    def rows(self, key: Key, today: date) -> pl.DataFrame:
        """Those of the market."""
        return self.market.rows(key, today)


@dataclass
class Without:
    """A market that lacks the records of some summary types; a SimulatedMarket."""

    market: SimulatedMarket
    missing: tuple[str, ...]

    def keys(self, today: date) -> Sequence[Key]:
        """Those of the market."""
        return self.market.keys(today)

    def summary_types(self, key: Key) -> Sequence[str]:
        """Those of the market but the missing ones."""
        return [each for each in self.market.summary_types(key) if each not in self.missing]

    def rows(self, key: Key, today: date) -> pl.DataFrame:
        """Those of the market but the missing ones."""
        import polars as pl

        return self.market.rows(key, today).filter(~pl.col("summaryTypeCode").is_in(self.missing))


@contextmanager
def simulated(market: SimulatedMarket, faults: Sequence[str] = (), **settings: Any) -> Iterator[Simulated]:
    """A simulator whose clock only moves when it is told to."""
    clock = SimulatedClock(datetime(2026, 11, 23, tzinfo=UTC), frozen=True)
    switches = Faults(faults, kinds=FAULT_KINDS, slow_seconds=60)
    app = finra_simulator(market, clock=clock, faults=switches, settings=Settings(**{"per_minute": 0, **settings}))
    with running(app) as url:
        yield Simulated(url, clock, switches)


def load(
    source: ApiSource | FileSource, db: Path, day: str, weeks: str = "", tiers: Sequence[str] = TIERS, **flags: Any
) -> SchedulerResult:
    """Run the schedule of one day from a source.

    ``weeks`` are comma-separated days; default: the last week of each tier.
    """

    def select(today: date, _reader: object) -> Selection:
        chosen = [date.fromisoformat(each) for each in weeks.split(",") if each]
        return Selection(partitions.plan(today, 1, chosen, tiers).partitions, source)

    return run_schedule(DOMAIN, Request(db=str(db), run_date=day, **flags), select, Hooks())


def rows(db: Path, columns: str = "*", table: str = "finra_otc_venue_volume") -> list[tuple[Any, ...]]:
    """The data rows known now, in a total order."""
    store: Reader = reader(str(db))
    try:
        wanted = ", ".join(VENUE_VOLUME.names) if columns == "*" else columns
        return list(store.query(f"SELECT {wanted} FROM {table} ORDER BY {wanted}").rows)
    finally:
        store.close()


def website_file(records: Sequence[dict[str, Any]]) -> str:
    """Records in the eight columns of the files on FINRA's website."""
    columns = (
        "tierDescription",
        "issueSymbolIdentifier",
        "issueName",
        "marketParticipantName",
        "MPID",
        "totalWeeklyShareQuantity",
        "totalWeeklyTradeCount",
        "lastUpdateDate",
    )
    lines = ["|".join("" if record[name] is None else str(record[name]) for name in columns) for record in records]
    return "\n".join(["|".join(columns), *lines]) + "\n"


def ingested(result: SchedulerResult) -> dict[str, tuple[str, str | None]]:
    """Partition to status and reason of its ingest run."""
    return {
        run.partition_key: (run.status.value, run.reason or (run.error.kind if run.error else None))
        for run in result.runs
        if run.pipeline.endswith("ingest_week")
    }
