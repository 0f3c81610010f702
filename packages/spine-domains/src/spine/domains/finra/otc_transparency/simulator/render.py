"""Pages as the service writes them: compact JSON or delimited text, at most 3 MB."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from spine.domains.finra.otc_transparency.simulator.fields import FIELD, FIELDS, JSON_ORDER, SCALE, Field

if TYPE_CHECKING:
    import polars as pl

MAX_PAYLOAD = 3 * 1024 * 1024
"""Bytes of a page; a row that would go beyond it waits for the next page."""

_SCIENTIFIC_FROM = 10_000_000


def number_text(scaled: int) -> str:
    """A number held as millionths, as Java writes a whole number or else a double: ``1.25`` or ``1.234567891E7``."""
    whole, rest = divmod(scaled, SCALE)
    if not rest:
        return str(whole)
    text = f"{abs(scaled) // SCALE}.{abs(scaled) % SCALE:06d}".rstrip("0")
    sign = "-" if scaled < 0 else ""
    if abs(scaled) < _SCIENTIFIC_FROM * SCALE:
        return sign + text
    digits = text.replace(".", "")
    return f"{sign}{digits[0]}.{digits[1:]}E{text.index('.') - 1}"


def json_page(rows: pl.DataFrame, names: Sequence[str], *, most: int | None = MAX_PAYLOAD) -> tuple[bytes, int]:
    """A page as a JSON array, and how many of the rows it holds.

    Args:
        rows: the rows of the page.
        names: the fields to show; their order does not matter.
        most: bytes of the page; None for no limit.
    """
    import polars as pl

    shown = [FIELD[name] for name in JSON_ORDER if name in names]
    parts: list[pl.Expr | pl.Series] = []
    for position, field in enumerate(shown):
        parts.append(pl.lit(f'{"," if position else "{"}"{field.name}":'))
        parts.append(_texts(rows[field.name], _json_text(field)))
    lines = rows.select(pl.concat_str(*parts, pl.lit("}")).alias("line"))["line"]
    kept = _fitting(lines, most, around=2)
    return ("[" + ",".join(kept) + "]").encode(), kept.len()


def text_page(
    rows: pl.DataFrame, names: Sequence[str], delimiter: str, *, quote: bool, most: int | None = MAX_PAYLOAD
) -> tuple[bytes, int]:
    """A page as delimited text with a header, and how many of the rows it holds; nulls are empty.

    Args:
        rows: the rows of the page.
        names: the fields to show; their order does not matter.
        delimiter: between the values; without ``quote`` a value that holds it is not protected.
        quote: put every value in double quotes, doubling those inside.
        most: bytes of the page; None for no limit.
    """
    import polars as pl

    shown = [field for field in FIELDS if field.name in names]
    header = delimiter.join(field.name for field in shown) + "\n"
    columns = [_texts(rows[field.name], _plain_text(field, quote=quote)) for field in shown]
    lines = rows.select(pl.concat_str(*columns, separator=delimiter).alias("line"))["line"]
    kept = _fitting(lines, most, around=len(header))
    return (header + "".join(line + "\n" for line in kept)).encode(), kept.len()


def _fitting(lines: pl.Series, most: int | None, around: int) -> pl.Series:
    """The first lines that fit, but at least one, so that a client that pages on comes to an end."""
    if most is None or lines.is_empty():
        return lines
    sizes = (lines.str.len_bytes() + 1).cum_sum()
    return lines.head(max(1, int((sizes + around <= most).sum())))


def _texts(values: pl.Series, text: Callable[[Any], str]) -> pl.Series:
    """Each value as text; each distinct value is converted once."""
    import polars as pl

    distinct = values.unique()
    texts = pl.Series([text(value) for value in distinct], dtype=pl.String)
    return values.replace_strict(distinct, texts, return_dtype=pl.String)


def _json_text(field: Field) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value is None:
            return "null"
        if field.scaled:
            return number_text(value)
        return str(value) if isinstance(value, int) else json.dumps(str(value), ensure_ascii=False)

    return convert


def _plain_text(field: Field, *, quote: bool) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        text = "" if value is None else number_text(value) if field.scaled else str(value)
        return '"' + text.replace('"', '""') + '"' if quote else text

    return convert
