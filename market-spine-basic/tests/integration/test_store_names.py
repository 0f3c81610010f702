"""A domain may name its columns as it likes: no name of the store's own is taken from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from market_spine.core.domain import Domain
from market_spine.core.manifest import Entry
from market_spine.core.partition import Partition, Scope
from market_spine.core.revision import Change
from market_spine.core.schema import Column, Table
from market_spine.store import StoreUrl, check, open_writer

AWKWARD = (
    "number",
    "rowid",
    "_rowid_",
    "Oid",
    "row_id",
    "wanted",
    "wanted_key",
    "k",
    "v",
    "c",
    "p",
    "m",
    "segment_id",
    "row_number",
    "filename",
    "spine_segment",
    "closed",
    "committed_at",
    "status",
    "select",
    "Group By",
    "c0",
)
_DDL = """\
CREATE TABLE shelf_book_versions ({columns}, manifest_id BIGINT NOT NULL, superseded_by BIGINT);
CREATE INDEX shelf_book_scope ON shelf_book_versions ("{part}");
"""


def _table(part: str, key: str, names: tuple[str, ...], *, bulk: bool) -> Table:
    columns = tuple(Column(name, "text", "A text.", nullable=name not in (part, key)) for name in names)
    return Table("shelf_book", columns, (part, key), (part,), "Books.", bulk=bulk)


@pytest.mark.parametrize(("part", "key"), [("number", "rowid"), ("rowid", "number"), ("v", "k"), ("filename", "Oid")])
def test_columns_of_any_name(
    part: str,
    key: str,
    new_store: Callable[[], StoreUrl],
    make_domain: Callable[..., Domain],
    enter: Callable[..., Entry],
    clock: Any,
    request: pytest.FixtureRequest,
) -> None:
    """Rows are loaded, changed, read now and as of a moment, and checked, whatever their columns are called."""
    # SQLite has three names for a row's address, and is left one.
    names = tuple(name for name in AWKWARD if name != ("_rowid_" if "Oid" in (part, key) else "Oid"))
    bulk = request.node.callspec.params["new_store"] == "columns"
    table = _table(part, key, names, bulk=bulk)
    columns = ", ".join(f'"{name}" TEXT{"" if column.nullable else " NOT NULL"}' for name, column in _by_name(table))
    domain = make_domain({"0001_books.sql": _DDL.format(columns=columns, part=part)}, tables=(table,), views=())
    partition, scope = Partition("garden", ("a",)), Scope({part: "a"})
    url = new_store()

    def frame(values: dict[str, str]) -> pl.DataFrame:
        rows = [
            [{part: "a", key: name}.get(column, f"{value} {column}") for column in names]
            for name, value in values.items()
        ]
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row").sort(table.key)

    with open_writer(url, [domain], clock=clock) as store:

        def load(capture: str, values: dict[str, str]) -> Change:
            with store.commit(partition) as commit:
                entry = enter(commit, partition, capture_id=capture)
                return commit.replace(table, scope, frame(values), entry.manifest_id)

        first = {f"book{number}": "old" for number in range(12)}
        second = {**dict.fromkeys(list(first)[2:], "old"), "book5": "new", "book99": "new"}
        assert load("first", first) == Change(12, 0, 0)
        assert load("second", second) == Change(1, 2, 1)
        assert load("third", second) == Change()
        assert store.read(table, scope).equals(frame(second))
        loose = store.read(table, scope, (key, "closed"), in_order=False)
        assert loose.sort(key).equals(frame(second).select(key, "closed"))
        for as_of, known in (("first", first), ("second", second), (None, second)):
            shown = ", ".join('"' + name + '"' for name in names)
            found = store.query(f'SELECT {shown} FROM shelf_book ORDER BY "{key}"', as_of).rows
            assert found == frame(known).rows()
            for together in (False, True):
                with store.table(
                    "shelf_book", columns=names, where={part: "a"}, as_of=as_of, together=together
                ) as rows:
                    assert pl.concat(rows.frames()).sort(key).equals(frame(known).sort(key))
        whole = store.query(f'SELECT COUNT(*), COUNT("{key}") FROM shelf_book_versions').rows
        assert whole == [(14, 14)]
    assert [each for each in check(url, [domain], deep=True) if not each.ok] == []


def _by_name(table: Table) -> list[tuple[str, Any]]:
    return [(column.name, column) for column in table.columns]
