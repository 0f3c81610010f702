"""What a file lost on its way: digits to a spreadsheet, keys to a broken line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from market_spine.core.anomaly import Anomaly
from market_spine.core.capture import Part
from market_spine.core.reconcile import Unknown
from spine.domains.finra.otc_transparency import parse
from spine.domains.finra.otc_transparency.schema import ATS, DE_MINIMIS

if TYPE_CHECKING:
    import polars as pl

_NUMBERS = (parse.SHARES, parse.TRADES, parse.NOTIONAL)
_E_NOTATION = r"^[+-]?([0-9]+)(?:\.([0-9]+))?[eE][+]?([0-9]+)$"
_FEW_DIGITS = 6
"""A number of so few digits with an exponent beyond them was rounded; FINRA's own in E-notation have up to 17."""


def lossy_numbers(partition_key: str, part: Part, rows: pl.DataFrame) -> tuple[Anomaly, ...]:
    """A warning if numbers are in E-notation with fewer digits than they are long: saved by a spreadsheet.

    Args:
        partition_key: whose file it is.
        part: the file.
        rows: its fields as text, under FINRA's names.
    """
    import polars as pl

    found: dict[str, dict[str, Any]] = {}
    for column in filter(rows.columns.__contains__, _NUMBERS):
        exponential = rows[column].str.contains("[eE]")
        if not exponential.any():
            continue
        text = rows[column].str.strip_chars()
        parts = text.filter(exponential).str.extract_groups(_E_NOTATION).struct.unnest()
        whole, fraction, exponent = (parts[name].fill_null("") for name in ("1", "2", "3"))
        digits = whole.str.len_chars() + fraction.str.len_chars()
        length = whole.str.len_chars() + exponent.cast(pl.Int64, strict=False).fill_null(0)
        lost = text.filter(exponential).filter((digits <= _FEW_DIGITS) & (length > digits))
        # A round number may be spelt so, too; most numbers are not round.
        if lost.len() * 2 > int(exponential.sum()):
            longest = text.filter(~exponential).str.len_chars().max()
            found[column] = {"rows": lost.len(), "example": str(lost[0]), "longest": int(str(longest or 0))}
    if not found:
        return ()
    told = "; ".join(
        f"{each['rows']:,} of {column}, such as {each['example']}"
        + (f", where others have up to {each['longest']} digits" if each["longest"] else "")
        for column, each in found.items()
    )
    message = f"{part.origin} holds numbers that were rounded, as by a spreadsheet that saved it: {told}"
    return (Anomaly("lossy_numbers", "warning", partition_key, message, {"columns": found}),)


def rejected_keys(rows: pl.DataFrame, broken: pl.DataFrame, unknown: Sequence[Unknown]) -> pl.DataFrame:
    """What could be read of the keys of rejected rows: ``venue_id`` or else ``venue_name``, ``symbol``,
    ``product_type`` and ``issue_name``; null where nothing was.

    Args:
        rows: rejected rows with these columns.
        broken: the same of lines with a wrong number of fields, as ``broken_lines`` tells them.
        unknown: what the part does not carry.
    """
    import polars as pl

    keys = pl.concat([rows.select(broken.columns), broken])
    lacking = {name for each in unknown for name in each.columns}
    named = pl.col("venue_name").str.strip_chars() != ""
    nameless = (pl.col("venue_id").str.strip_chars() == "") | (pl.col("venue_id") == pl.col("venue_name"))
    by_name = pl.lit("venue_id" in lacking) | (nameless & named)
    symbol, issue = pl.col("symbol").str.strip_chars(), pl.col("issue_name").str.strip_chars()
    nothing = pl.lit(None, dtype=pl.String)
    return keys.select(
        pl.when(~by_name).then("venue_id").alias("venue_id"),
        pl.when(by_name).then("venue_name").alias("venue_name"),
        # Without its symbol a row is still known by the name of its issue.
        pl.when((symbol != "") | (issue == "")).then("symbol").alias("symbol"),
        *(nothing.alias(name) if name in lacking else pl.col(name) for name in ("product_type", "issue_name")),
    )


def broken_lines(file: parse.ParsedFile, venue_class: str) -> pl.DataFrame:
    """What lines with too few or too many fields say of venue and symbol, read up to the break and from behind it."""
    import polars as pl

    columns = file.columns
    broken = file.rejects.filter(pl.col("rule") == "field_count")
    venue = parse.MPID if venue_class == ATS else parse.CRD
    told: set[tuple[str, str, str]] = set()
    for line in file.told(broken["line"]):
        fields = line.split("|")

        def either(name: str, fields: list[str] = fields) -> set[str]:
            if name not in columns:
                return {""}
            place = columns.index(name)
            places = [place] if place < len(fields) else []
            places += [place - len(columns)] if len(columns) - place <= len(fields) else []
            return {fields[each].strip() for each in places} or {""}

        for symbol, mpid, name in product(either(parse.SYMBOL), either(venue), either(parse.NAME)):
            unattributed = not mpid and name.lower() == "de minimis firms"
            told.add((DE_MINIMIS if unattributed else mpid or ("" if venue_class == ATS else name), name, symbol))
    schema = ("venue_id", "venue_name", "symbol")
    rows = pl.DataFrame(sorted(told), schema=dict.fromkeys(schema, pl.String), orient="row")
    nothing = pl.lit(None, dtype=pl.String)
    return rows.filter(pl.col("symbol") != "").with_columns(product_type=nothing, issue_name=nothing)
