"""Reading a query to its end: every page of it, of one moment, or nothing.

Pages are asked for by offset in a total order, several at a time, until as many records are in hand as
``Record-Total`` says; a short page is continued where it ends. If the total moves, or a record comes twice,
the pages are of different moments, and the whole query is read again.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from market_spine.errors import SourceError
from spine.domains.finra.otc_transparency.api import payload as api_payload
from spine.domains.finra.otc_transparency.api.client import HISTORIC, MAX_OFFSET, PAGE_ROWS, FinraApi, Page

if TYPE_CHECKING:
    import polars as pl

    from market_spine.sources.limits import Deadline

T = TypeVar("T")

READINGS = 4
"""How often a query is read whole before its pages count as contradicting each other."""


@dataclass(frozen=True, slots=True)
class Records:
    """All records of a query, of one moment.

    Attributes:
        rows: the records, in no order that means anything.
        fields: the fields that some record has.
        request_ids: FINRA's names for the requests, in the order of the records.
    """

    rows: pl.DataFrame
    fields: frozenset[str]
    request_ids: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many there are: FINRA's Record-Total."""
        return self.rows.height


class _Moved(Exception):
    """The query's records changed between two pages."""


@dataclass(frozen=True, slots=True)
class Query:
    """The records of one week and tier, all or those of some summary types.

    Attributes:
        dataset: ``weeklySummary`` or ``weeklySummaryHistoric``.
        week_start: the Monday.
        tier: FINRA's tierIdentifier.
        summary_types: FINRA's summaryTypeCodes; empty = all. ``weeklySummaryHistoric`` takes none.
    """

    dataset: str
    week_start: date
    tier: str
    summary_types: tuple[str, ...] = ()

    def body(self, *, limit: int, offset: int = 0, sort: Sequence[str] = api_payload.IDENTITY) -> dict[str, Any]:
        """The request for one page."""
        wanted = {"weekStartDate": self.week_start.isoformat(), "tierIdentifier": self.tier}
        body: dict[str, Any] = {"limit": limit, "offset": offset}
        if len(self.summary_types) == 1:
            wanted["summaryTypeCode"] = self.summary_types[0]
        elif self.summary_types:
            body["domainFilters"] = [{"fieldName": "summaryTypeCode", "values": list(self.summary_types)}]
        body["compareFilters"] = [
            {"fieldName": name, "fieldValue": value, "compareType": "EQUAL"} for name, value in wanted.items()
        ]
        if self.dataset != HISTORIC:
            body["sortFields"] = list(sort)
        return body

    def check(self, rows: pl.DataFrame) -> None:
        """Refuse records that were not asked for: a filter that is ignored answers with other partitions."""
        import polars as pl

        wanted: Mapping[str, Sequence[str]] = {
            "weekStartDate": [self.week_start.isoformat()],
            "tierIdentifier": [self.tier],
            "summaryTypeCode": self.summary_types,
        }
        for name, values in wanted.items():
            # FINRA may leave out or null a field; what it does state has to be what was asked for.
            others = rows.filter(~pl.col(name).is_in(list(values)))[name] if values else rows[name].clear()
            if others.len():
                raise SourceError(
                    f"{self} was answered with {others.len():,} records of {name} {others[0]!r}",
                    kind="filters_ignored",
                    hint="the service or a gateway does not apply the filters sent; nothing was stored",
                )

    def __str__(self) -> str:
        types = "+".join(self.summary_types) or "every summary type"
        return f"{self.dataset} of {self.week_start}, {self.tier}, {types}"


def submit(pool: Executor, work: Callable[[], T]) -> Future[T]:
    """Run ``work`` in a pool, with the log context of this thread."""
    return pool.submit(contextvars.copy_context().run, work)


def newest_update(api: FinraApi, query: Query, deadline: Deadline) -> tuple[int, str]:
    """How many records a query has, and the latest ``lastUpdateDate`` among them (empty if none); one request."""
    page = api.page(query.dataset, query.body(limit=1, sort=("-lastUpdateDate",)), deadline)
    query.check(page.rows)
    if page.total and page.rows.is_empty():
        raise SourceError(f"{query} has {page.total:,} records but showed none", kind="bad_answer")
    return page.total, (page.rows["lastUpdateDate"][0] or "") if page.total else ""


def read_each(api: FinraApi, queries: Sequence[Query], pool: Executor, deadline: Deadline) -> dict[Query, Records]:
    """Every record of several queries, read at the same time; see ``read_all``."""
    with ThreadPoolExecutor(len(queries)) as waiting:
        readings = {query: submit(waiting, partial(read_all, api, query, pool, deadline)) for query in queries}
        return {query: reading.result() for query, reading in readings.items()}


def read_all(api: FinraApi, query: Query, pool: Executor, deadline: Deadline) -> Records:
    """Every record of a query.

    Args:
        api: where to read.
        query: which records.
        pool: where pages are read, several at the same time; this thread must not be one of its own.
        deadline: for all of it.

    Raises:
        SourceError: kind ``unstable_source`` if no reading was of one moment, ``too_many_rows`` if FINRA
            does not let so many be read, ``filters_ignored``, or as ``HttpClient`` raises it.
    """
    last: Records | None = None
    for _ in range(READINGS):
        try:
            records = _read_once(api, query, pool, deadline)
        except _Moved:
            last = None
            continue
        if not _repeats(records.rows) or (last and _same(last, records)):
            return records
        last = records
    raise SourceError(
        f"{query}: the number of records moved, or records were missing or repeated, in each of {READINGS} readings",
        kind="unstable_source",
        hint="FINRA may be in the middle of an update: run again later; nothing was stored",
    )


def _read_once(api: FinraApi, query: Query, pool: Executor, deadline: Deadline) -> Records:
    import polars as pl

    read = partial(_read_range, api, query, deadline)
    first = submit(pool, partial(_page, api, query, deadline, 0, PAGE_ROWS)).result()
    total = first.total
    if total > MAX_OFFSET + PAGE_ROWS:
        raise SourceError(
            f"{query} has {total:,} records, more than FINRA lets be read ({MAX_OFFSET + PAGE_ROWS:,})",
            kind="too_many_rows",
        )
    ends = [*range(PAGE_ROWS, total, PAGE_ROWS), total]
    starts = [first.rows.height, *ends[:-1]]
    rest = [
        submit(pool, partial(read, total, start, end)) for start, end in zip(starts, ends, strict=True) if start < end
    ]
    try:
        pages = [first, *(page for future in rest for page in future.result())]
    finally:
        for future in rest:
            future.cancel()
    return Records(
        pl.concat([page.rows for page in pages]),
        frozenset().union(*(page.fields for page in pages)),
        tuple(page.request_id for page in pages if page.request_id),
    )


def _read_range(api: FinraApi, query: Query, deadline: Deadline, total: int, start: int, end: int) -> list[Page]:
    """The pages from record ``start`` to before ``end``, continued where one ends short."""
    pages: list[Page] = []
    while start < end:
        page = _page(api, query, deadline, start, end - start)
        if page.total != total or page.rows.is_empty():
            raise _Moved
        pages.append(page)
        start += page.rows.height
    return pages


def _page(api: FinraApi, query: Query, deadline: Deadline, offset: int, limit: int) -> Page:
    page = api.page(query.dataset, query.body(limit=limit, offset=offset), deadline)
    query.check(page.rows)
    if page.rows.height > min(limit, page.total) or (page.rows.is_empty() and offset < page.total):
        raise _Moved
    return page


def _repeats(rows: pl.DataFrame) -> bool:
    return bool(rows.select("summaryTypeCode", *api_payload.IDENTITY).is_duplicated().any())


def _same(one: Records, other: Records) -> bool:
    """Two readings that agree on a repeated record: FINRA itself has it twice."""
    return api_payload.render(one.rows, one.fields) == api_payload.render(other.rows, other.fields)
