"""What the vendors' answers have in common: JSON read exactly, CSV by column name, frames of raw rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from market_spine.core import jsontext
from market_spine.core.capture import Part
from market_spine.core.sizes import refuse_long_field
from market_spine.errors import ContentError

if TYPE_CHECKING:
    import polars as pl

NUMBERS = ("open", "high", "low", "close", "volume", "vwap", "trade_count")

Pairs = tuple[tuple[str, Any], ...]
"""A JSON object as its members in order: a repeated name stays visible."""


def read_json(part: Part) -> Any:
    """A part as JSON, objects as dictionaries; raises ContentError, kinds ``not_json``, ``field_too_large``."""
    return _load(part, None)


def read_json_pairs(part: Part) -> Any:
    """A part as JSON, objects as ``Pairs``; raises ContentError as ``read_json`` does."""
    return _load(part, tuple)


def _load(part: Part, hook: Any) -> Any:
    refuse_long_field(part.data, (b'"',), part.origin)
    try:
        return jsontext.read_json(part.data, hook)
    except ValueError as error:
        raise ContentError(
            f"{part.origin} answered something that is not JSON: {shown(part.data)}",
            hint="run again; if it stays so, the vendor has changed its answers",
            kind="not_json",
        ) from error


def read_csv(part: Part, columns: Sequence[str]) -> list[dict[str, str]]:
    """A part as CSV rows by column name; raises ContentError, kind ``not_csv`` if a column is missing or a field
    cannot be read, ``field_too_large``."""
    refuse_long_field(part.data, (b",", b"\n"), part.origin)
    text = part.data.decode("utf-8-sig", "replace")
    reader = csv.DictReader(io.StringIO(text))
    try:
        header = reader.fieldnames or ()
        rows = list(reader)
    except csv.Error as error:
        raise ContentError(
            f"{part.origin} answered with text that cannot be read: {error}",
            hint="run again; if it stays so, the vendor has changed its answers",
            kind="not_csv",
        ) from error
    if missing := [name for name in columns if name not in header]:
        raise ContentError(
            f"{part.origin} answered without the column {missing[0]!r}: {shown(part.data)}",
            hint="run again; if it stays so, the vendor has changed its answers",
            kind="not_csv",
        )
    return [{name: value or "" for name, value in row.items() if name is not None} for row in rows]


def number(value: Any) -> float | None:
    """A finite number, given as one or as its text; else None. A missing price is None, never 0."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def day(value: Any) -> date | None:
    """A date written ``YYYY-MM-DD``, else None."""
    if not isinstance(value, str) or len(value) != len("YYYY-MM-DD"):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def bars_frame(rows: Iterable[tuple[str, date | None, Mapping[str, Any]]]) -> pl.DataFrame:
    """The frame of ``RawBars`` from (raw text, session, values by our column names) in the answer's order."""
    import polars as pl

    listed = list(rows)
    columns: dict[str, Any] = {
        "line": pl.Series(range(1, len(listed) + 1), dtype=pl.Int64),
        "raw": pl.Series([raw for raw, _, _ in listed], dtype=pl.String),
        "trade_date": pl.Series([session for _, session, _ in listed], dtype=pl.Date),
    }
    for name in NUMBERS:
        columns[name] = pl.Series([number(values.get(name)) for _, _, values in listed], dtype=pl.Float64)
    return pl.DataFrame(columns)


def splits_frame(rows: Iterable[tuple[date | None, float | None, float | None, str]]) -> pl.DataFrame:
    """Splits as ``ex_date``, ``split_from``, ``split_to``, ``kind``; what is no split at all is left out.

    A day may have several: which of them counts is not a question of their order.
    """
    import polars as pl

    good = [row for row in rows if row[0] and (row[1] or 0) > 0 and (row[2] or 0) > 0]
    schema = {"ex_date": pl.Date, "split_from": pl.Float64, "split_to": pl.Float64, "kind": pl.String}
    return pl.DataFrame(good, schema=schema, orient="row").unique().sort(list(schema))


def dividends_frame(rows: Iterable[tuple[date | None, str, float | None, str]]) -> pl.DataFrame:
    """Dividends as ``ex_date``, ``kind``, ``amount``, ``currency``, equal ones summed.

    A day, kind and currency may still have several amounts.
    """
    import polars as pl

    good = sorted(row for row in rows if row[0] and row[2] is not None and row[2] > 0)
    schema = {"ex_date": pl.Date, "kind": pl.String, "amount": pl.Float64, "currency": pl.String}
    frame = pl.DataFrame(good, schema=schema, orient="row")
    keys = ["ex_date", "kind", "currency", "amount"]
    together = frame.group_by(keys, maintain_order=True).agg(pl.col("amount").sum().alias("sum"))
    return together.sort(keys).select("ex_date", "kind", pl.col("sum").alias("amount"), "currency")


def shown(body: bytes) -> str:
    """The beginning of an answer for an error message."""
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return text[:200] or "nothing"
