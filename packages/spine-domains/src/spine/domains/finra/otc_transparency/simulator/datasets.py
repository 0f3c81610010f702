"""FINRA's datasets over a simulated market: what each shows on a day, selected, ordered and cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from datetime import date, timedelta
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

from spine.domains.finra.otc_transparency.simulator.fields import FIELDS, IDENTITY, schema
from spine.domains.finra.otc_transparency.simulator.market import WEEK, Key, SimulatedMarket
from spine.domains.finra.otc_transparency.simulator.query import EQUAL, Filter, QueryReader, QueryRefused, ServedQuery

if TYPE_CHECKING:
    import polars as pl

GROUP = "otcMarket"
SUMMARY = "weeklySummary"
HISTORIC = "weeklySummaryHistoric"
DETAILS = "weeklyDownloadDetails"

_NAMES = tuple(field.name for field in FIELDS)
_PARTITION = ("weekStartDate", "tierIdentifier")
_HISTORIC_KEYS = ("weekStartDate", "historicalWeek", "historicalMonth")
_DETAIL_NAMES = ("tierIdentifier", "summaryTypeCode", "weekStartDate")

DATASETS: Mapping[str, QueryReader] = MappingProxyType(
    {
        SUMMARY: QueryReader(_NAMES, _PARTITION),
        HISTORIC: QueryReader(_NAMES, _PARTITION, sortable=False, extra=("historicalWeek", "historicalMonth")),
        DETAILS: QueryReader(_DETAIL_NAMES, ("summaryTypeCode", "tierIdentifier")),
    }
)

_YEAR = timedelta(days=365)
_CACHED_ROWS = 1_500_000


def find_dataset(name: str) -> str | None:
    """The dataset of a name, in any case; None if there is none."""
    return next((each for each in DATASETS if each.lower() == name.lower()), None)


class Library:
    """The datasets of one market.

    Args:
        market: the rows.
        summary_weeks: how many of the latest weeks ``weeklySummary`` holds; 0 for all.
    """

    def __init__(self, market: SimulatedMarket, summary_weeks: int) -> None:
        self._market = market
        self._summary_weeks = summary_weeks
        self._partitions = _Cache(_CACHED_ROWS)
        self._answers = _Cache(_CACHED_ROWS)
        self._lock = Lock()

    def partitions(self, dataset: str, today: date) -> Sequence[Key]:
        """The partitions that a dataset holds, newest first; ``weeklyDownloadDetails`` has none."""
        if dataset == DETAILS:
            return ()
        return sorted(self._kept(dataset, today), key=lambda key: (-key.monday.toordinal(), key.tier))

    def select(self, dataset: str, query: ServedQuery, today: date) -> pl.DataFrame:
        """All rows that a query finds, in the order in which they are paged.

        Raises:
            QueryRefused: status 400, if the dataset cannot be asked so.
        """
        filters = _historic_filters(query) if dataset == HISTORIC else query.filters
        key = (dataset, filters, query.sort, today)
        # One at a time: requests for neighbouring pages want the same rows.
        with self._lock:
            found = self._answers.get(key)
            if found is None:
                found = self._find(dataset, filters, query.sort, today)
                self._answers.put(key, found)
        return found

    def _find(
        self, dataset: str, filters: Sequence[Filter], sort: Sequence[tuple[str, bool]], today: date
    ) -> pl.DataFrame:
        import polars as pl

        conditions = [each.expression() for each in filters]
        if dataset == DETAILS:
            rows = self._details(today)
            rows = rows.filter(conditions) if conditions else rows
        else:
            keys = self._wanted(self._kept(dataset, today), filters)
            parts = [self._rows(key, today) for key in keys]
            rows = pl.concat([part.filter(conditions) if conditions else part for part in parts] or [_empty()])
        rows = rows.sort("order")
        if sort:
            names, descending = [name for name, _ in sort], [down for _, down in sort]
            rows = rows.sort(names, descending=descending, nulls_last=True, maintain_order=True)
        return rows.drop("order")

    def _kept(self, dataset: str, today: date) -> Sequence[Key]:
        keys = self._market.keys(today)
        if dataset == SUMMARY:
            weeks = self._summary_weeks
            newest = max((key.monday for key in keys), default=date.min)
            return [key for key in keys if not weeks or key.monday > newest - weeks * WEEK]
        if dataset == HISTORIC:
            return [key for key in keys if today - 5 * _YEAR <= key.monday < today - _YEAR]
        # The index of downloads reaches over both.
        return list({*self._kept(SUMMARY, today), *self._kept(HISTORIC, today)})

    def _wanted(self, keys: Sequence[Key], filters: Sequence[Filter]) -> Sequence[Key]:
        """The partitions in which the filters can find anything: most need not be drawn at all."""
        import polars as pl

        deciding = [each.expression() for each in filters if each.name in _PARTITION]
        if not deciding or not keys:
            return keys
        frame = pl.DataFrame(keys, schema=dict(zip(_PARTITION, (pl.Date, pl.String), strict=True)), orient="row")
        return [Key(*row) for row in frame.filter(deciding).rows()]

    def _rows(self, key: Key, today: date) -> pl.DataFrame:
        held = self._partitions.get((key, today))
        if held is None:
            import polars as pl

            held = self._market.rows(key, today).with_columns(order=pl.struct(IDENTITY).hash(seed=1))
            self._partitions.put((key, today), held)
        return held

    def _details(self, today: date) -> pl.DataFrame:
        import polars as pl

        kept = self._kept(DETAILS, today)
        records = [(key.tier, kind, key.monday) for key in kept for kind in self._market.summary_types(key)]
        types = dict(zip(_DETAIL_NAMES, (pl.String, pl.String, pl.Date), strict=True))
        frame = pl.DataFrame(records, schema=types, orient="row")
        return frame.with_columns(order=pl.struct(_DETAIL_NAMES).hash(seed=1))


class _Cache:
    """The frames used last, up to a number of rows."""

    def __init__(self, rows: int) -> None:
        self._most = rows
        self._held: OrderedDict[Hashable, pl.DataFrame] = OrderedDict()

    def get(self, key: Hashable) -> pl.DataFrame | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: Hashable, frame: pl.DataFrame) -> None:
        self._held[key] = frame
        while len(self._held) > 1 and sum(each.height for each in self._held.values()) > self._most:
            self._held.popitem(last=False)


def _empty() -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(schema={**schema(), "order": pl.UInt64})


def _historic_filters(query: ServedQuery) -> tuple[Filter, ...]:
    """The filters of a request to the historic dataset, in terms of weeks.

    It takes exactly one EQUAL filter on ``weekStartDate``, ``historicalWeek`` or ``historicalMonth``, and at
    most one more on ``tierIdentifier``.
    """
    periods = [each for each in query.filters if each.name in _HISTORIC_KEYS]
    tiers = [each for each in query.filters if each.name == "tierIdentifier"]
    only_equal = all(each.operation == EQUAL for each in query.filters)
    if len(periods) != 1 or len(tiers) > 1 or len(query.filters) > len(periods) + len(tiers) or not only_equal:
        raise QueryRefused(
            400,
            f"{HISTORIC} needs exactly one EQUAL filter on {', '.join(_HISTORIC_KEYS)} "
            "and takes at most one more, on tierIdentifier",
        )
    period = periods[0]
    if period.name == "weekStartDate":
        return (period, *tiers)
    try:
        if period.name == "historicalWeek":
            day = date.fromisoformat(period.values[0])
            monday = day - timedelta(days=day.weekday())
            return (Filter("weekStartDate", EQUAL, (monday,)), *tiers)
        first = date.fromisoformat(f"{period.values[0]}-01")
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise QueryRefused(400, f"Invalid {period.name}: {period.values[0]}") from error
    return (Filter("weekStartDate", "BETWEEN", (first, last)), *tiers)
