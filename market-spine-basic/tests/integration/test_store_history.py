"""Random histories against a model that keeps every state whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.core.revision import Change, diff_rows
from market_spine.core.schema import Table
from market_spine.store import StoreUrl, open_writer
from market_spine.store.sqlite import segments
from market_spine.store.writer import StoreWriter

if TYPE_CHECKING:
    import pytest

SOAK = int(os.environ.get("MARKET_SPINE_SOAK", "1"))
Row = tuple[Any, ...]
Key = tuple[Any, ...]
State = dict[Key, Row]

_DAYS = [date(2025, 1, day) for day in (3, 10, 17)]
_WEIGHTS = st.sampled_from([0.0, 0.1, 1.5, 1e300])
_CRATES = st.none() | st.sampled_from([0, 1, 2**62])
_RIPE = st.none() | st.booleans()
_SOWN = st.none() | st.sampled_from(_DAYS)


@st.composite
def _harvest_write(draw: st.DrawFn) -> tuple[str, Partition, Scope, State]:
    day, plot = draw(st.sampled_from(_DAYS[:2])), draw(st.sampled_from(["north", "o'south"]))
    crops = draw(st.sets(st.sampled_from(["beet", "kale", "Kale", ""])))
    rows = {
        (day, plot, crop): (day, plot, crop, draw(_WEIGHTS), draw(_CRATES), draw(_RIPE), draw(_SOWN))
        for crop in sorted(crops)
    }
    values = (day.isoformat(), plot)
    return "garden_harvest", Partition("garden", values), Scope(dict(zip(("day", "plot"), values, strict=True))), rows


@st.composite
def _price_write(draw: st.DrawFn) -> tuple[str, Partition, Scope, State]:
    crop = draw(st.sampled_from(["beet", "kale"]))
    first, last = sorted((draw(st.integers(0, 2)), draw(st.integers(0, 2))))
    days = draw(st.sets(st.sampled_from(_DAYS[first : last + 1])))
    rows = {(crop, day): (crop, day, draw(_WEIGHTS)) for day in sorted(days)}
    between = {"day": (_DAYS[first].isoformat(), _DAYS[last].isoformat())}
    return "garden_price", Partition("garden", (crop,)), Scope({"crop": crop}, between), rows


def _in_scope(table: Table, scope: Scope, row: Row) -> bool:
    texts = {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in zip(table.names, row, strict=True)
    }
    return all(texts[name] == value for name, value in scope.equals.items()) and all(
        low <= texts[name] <= high  # type: ignore[operator]
        for name, (low, high) in scope.between.items()
    )


def _frame(table: Table, rows: State) -> pl.DataFrame:
    kinds = {"text": pl.String, "integer": pl.Int64, "float": pl.Float64, "date": pl.Date, "boolean": pl.Boolean}
    return pl.DataFrame(
        list(rows.values()), schema={column.name: kinds[column.kind] for column in table.columns}, orient="row"
    )


def _shown(rows: State) -> list[Row]:
    """Rows as a query shows them: dates as text."""
    plain = [tuple(v.isoformat() if isinstance(v, date) else v for v in row) for row in rows.values()]
    return sorted(plain, key=repr)


def _asked(writer: StoreWriter, table: Table, moment: datetime | None) -> list[Row]:
    result = writer.query(f"SELECT {', '.join(table.names)} FROM {table.name}", moment)
    return sorted(result.rows, key=repr)


def _raw(writer: StoreWriter, domain: Domain) -> list[list[Row]]:
    names = [*(table.versions for table in domain.tables), "core_manifest", "core_capture_parts", "core_migrations"]
    return [sorted(writer.query(f"SELECT * FROM {name}").rows, key=repr) for name in names]


@pytest.mark.soak
@settings(max_examples=10 * SOAK, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_moment_reads_as_it_was(
    data: st.DataObject,
    new_store: Callable[[], StoreUrl],
    domain: Domain,
    clock: Any,
    enter: Callable[..., Entry],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever was replaced, each table read as of any past moment is what it was then, and now what it is."""
    # From how many changed rows on a bulk table gets another segment.
    monkeypatch.setattr(segments, "MANY_ROWS", data.draw(st.sampled_from([0, 1, 1_000])))
    tables = {table.name: table for table in domain.tables}
    state: dict[str, State] = {name: {} for name in tables}
    past: list[tuple[datetime, dict[str, State]]] = []
    writes = data.draw(st.lists(_harvest_write() | _price_write(), min_size=1, max_size=8))
    with open_writer(new_store(), [domain], clock=clock) as writer:
        for number, (name, partition, scope, rows) in enumerate(writes):
            table, before = tables[name], state[name]
            old = {key: row for key, row in before.items() if _in_scope(table, scope, row)}
            diff = diff_rows(_frame(table, old), _frame(table, rows), table.key) if data.draw(st.booleans()) else None
            with writer.commit(partition) as commit:
                manifest_id = commit.next_id()
                change = commit.replace(table, scope, _frame(table, rows), manifest_id, diff=diff)
                if change:
                    enter(commit, partition, manifest_id=manifest_id, capture_id=f"capture {number}")
            assert change == Change(
                added=len(rows.keys() - old.keys()),
                removed=len(old.keys() - rows.keys()),
                changed=sum(rows[key] != old[key] for key in rows.keys() & old.keys()),
            )
            state[name] = {key: row for key, row in before.items() if key not in old} | rows
            if change:
                ((moment,),) = writer.query("SELECT MAX(committed_at) FROM core_manifest").rows
                past.append((datetime.fromisoformat(moment), dict(state)))
        for name, table in tables.items():
            assert _asked(writer, table, None) == _shown(state[name])
            for moment, then in past:
                assert _asked(writer, table, moment) == _shown(then[name])


@pytest.mark.soak
@settings(max_examples=8 * SOAK, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(write=_harvest_write() | _price_write(), compared=st.booleans())
def test_an_identical_frame_writes_nothing(
    write: tuple[str, Partition, Scope, State],
    compared: bool,
    new_store: Callable[[], StoreUrl],
    domain: Domain,
    clock: Any,
    enter: Callable[..., Entry],
) -> None:
    """Replacing rows by themselves, in another order, leaves every stored byte of the tables as it was."""
    name, partition, scope, rows = write
    table = next(table for table in domain.tables if table.name == name)
    frame = _frame(table, rows)
    with open_writer(new_store(), [domain], clock=clock) as writer:
        with writer.commit(partition) as commit:
            entry = enter(commit, partition)
            commit.replace(table, scope, frame, entry.manifest_id)
        before = _raw(writer, domain)
        with writer.commit(partition) as commit:
            diff = diff_rows(frame, frame.reverse(), table.key) if compared else None
            assert commit.replace(table, scope, frame.reverse(), commit.next_id(), diff=diff) == Change()
        assert _raw(writer, domain) == before


def test_what_is_read_has_the_declared_types_and_order(
    writer: StoreWriter, domain: Domain, partition: Partition, put: Callable[..., Entry]
) -> None:
    """Rows come back typed as declared and sorted by key, also when only other columns are asked for."""
    put("first", kale=2, beet=1)
    scope = Scope({"day": "2025-01-03", "plot": "north"})
    frame = writer.read(domain.tables[0], scope)
    kinds = [pl.Date, pl.String, pl.String, pl.Float64, pl.Int64, pl.Boolean, pl.Date]
    assert frame.schema == dict(zip(domain.tables[0].names, kinds, strict=True))
    assert frame["crop"].to_list() == ["beet", "kale"]
    assert frame["sown"].to_list() == [date(2024, 10, 1)] * 2
    assert writer.read(domain.tables[0], scope, ["weight", "day"]).rows() == [
        (1.0, date(2025, 1, 3)),
        (2.0, date(2025, 1, 3)),
    ]
    elsewhere = writer.read(domain.tables[0], Scope({"plot": "south"}))
    assert elsewhere.is_empty()
    assert elsewhere.schema == frame.schema
