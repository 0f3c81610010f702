"""From fields to rows: types, the rules each row must meet, and uniqueness. Frames in, frames out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from market_spine.core.capture import Part
from market_spine.core.domain import LacksFields, Normalized
from market_spine.core.partition import Partition
from market_spine.core.reconcile import Unknown
from market_spine.errors import ContentError
from spine.domains.finra.otc_transparency import identity, lossy, parse
from spine.domains.finra.otc_transparency.api.totals import (
    TOTALS,
    VERIFIED_BY,
    check_count,
    check_totals,
    kept_totals,
    unverified,
)
from spine.domains.finra.otc_transparency.partitions import find_tier, week_and_tier
from spine.domains.finra.otc_transparency.schema import ATS, DE_MINIMIS, VENUE_CLASSES, VENUE_VOLUME

if TYPE_CHECKING:
    import polars as pl

TOO_LARGE = 1e12
"""Shares and trades of one row stay below this, so that exact integer sums of a whole week fit 128 bits."""
FIRST_DATE, LAST_DATE = date(1900, 1, 1), date(2199, 12, 31)
"""A date outside these is no date of this data."""

_CONSTANT = ("week_ending", "tier", "venue_class")
_KEY = [name for name in VENUE_VOLUME.key if name not in _CONSTANT]
_VALUES = [name for name in VENUE_VOLUME.names if name not in VENUE_VOLUME.key]
_CARRIED_IN = {
    "product_type": parse.PRODUCT,
    "issue_name": parse.ISSUE,
    "notional": parse.NOTIONAL,
    "initial_published_date": parse.PUBLISHED,
    "last_update_date": parse.UPDATED,
    "last_reported_date": parse.REPORTED,
}
"""Columns of the table that not every layout carries, and FINRA's columns for them."""
_DATES = {
    "week_start": parse.WEEK_START,
    "initial_published_date": parse.PUBLISHED,
    "last_update_date": parse.UPDATED,
    "last_reported_date": parse.REPORTED,
}


def normalize_payload(partition: Partition, parts: Sequence[Part]) -> Normalized:
    """Read a payload into rows of ``finra_otc_venue_volume``, sorted by key.

    Parts ``ATS`` and ``NON_ATS`` hold the rows; ``ATS_TOTALS`` and ``NON_ATS_TOTALS``, if they were read
    together with them, prove them. Columns that a part lacks are declared unknown.

    Every non-blank line after a header is accepted, rejected with its line number, text and rule, or
    counted as an exact duplicate of an accepted row.

    Raises:
        ContentError: as ``parse_file`` does; also ``wrong_tier``, ``wrong_venue_class`` and
            ``wrong_summary_type`` if most rows are of another tier, class or kind of summary.
    """
    import polars as pl

    totals = {part.name: part for part in parts if part.name in TOTALS.values()}
    rows = [part for part in parts if part.name not in totals]
    results = [
        _normalize_part(partition, part, totals.get(TOTALS.get(part.name, "")))
        for part in sorted(rows, key=lambda part: part.name)
    ]
    return Normalized(
        tables={VENUE_VOLUME.name: pl.concat([result.tables[VENUE_VOLUME.name] for result in results])},
        rejects=pl.concat([result.rejects for result in results]),
        rows_read=sum(result.rows_read for result in results),
        duplicates=sum(result.duplicates for result in results),
        concerns=tuple(concern for result in results for concern in result.concerns),
        anomalies=(
            *unverified(partition.key, rows),
            *(anomaly for result in results for anomaly in result.anomalies),
        ),
        refused={VENUE_VOLUME.name: pl.concat([result.refused[VENUE_VOLUME.name] for result in results])},
        proven=all(result.proven for result in results),
        settles=frozenset({"unverified", "totals_disagree", "lossy_numbers"}),
        partial=LacksFields(
            {VENUE_VOLUME.name: tuple(each for result in results for each in result.unknown[VENUE_VOLUME.name])}
        ),
    )


def _normalize_part(partition: Partition, part: Part, totals: Part | None) -> Normalized:
    import polars as pl

    if part.name not in VENUE_CLASSES:
        raise ContentError(f"{part.origin} came as {part.name}, which is no venue class", kind="unknown_part")
    week_ending, tier = week_and_tier(partition)
    file = parse.parse_file(part.data, part.origin)
    typed = _type_rows(file.rows, tier)
    identity.refuse_other_tier(typed, tier, part)
    identity.refuse_other_class(typed, part)
    checked = typed.with_columns(_broken_rule(part.name, identity.most_common(typed["week_start"])))
    good = _by_key(checked.filter(pl.col("rule").is_null()).select("line", *_KEY, *_VALUES))
    constants = (
        pl.lit(week_ending).alias("week_ending"),
        pl.lit(tier).alias("tier"),
        pl.lit(part.name).alias("venue_class"),
    )
    rows, conflicting, duplicates = _make_unique(good)
    rows = rows.with_columns(*constants, pl.col("trade_count").cast(pl.Int64))
    conflicting = conflicting.with_columns(*constants)
    broken = checked.filter(pl.col("rule").is_not_null())
    unknown = _unknown(file.rows.columns, part.name, conflicting.select(*VENUE_VOLUME.key, "venue_name"))
    refused = pl.concat(
        [
            file.rejects,
            broken.select("line", "rule"),
            conflicting.select("line", pl.lit("conflicting_key").alias("rule")),
        ]
    ).sort("line")
    rows = rows.select(VENUE_VOLUME.names)
    concerns = (*identity.check_week(partition, part, typed), *check_count(part, file.rows_read))
    odd = lossy.lossy_numbers(partition.key, part, file.rows)
    wrong = check_totals(rows, part, totals) if totals is not None else ()
    if totals is not None and part.metadata.get(VERIFIED_BY) == totals.sha256:
        concerns = (*concerns, *wrong)
    elif wrong:
        odd = (*odd, *kept_totals(partition.key, wrong))
    keyed = pl.concat([each.select(*_KEY, "venue_name") for each in (broken, conflicting)])
    keys = lossy.rejected_keys(keyed, lossy.broken_lines(file, part.name), unknown).with_columns(*constants)
    raw = file.told(refused["line"]).alias("raw")
    return Normalized(
        tables={VENUE_VOLUME.name: rows},
        rejects=refused.select(pl.lit(part.name).alias("part"), "line", "rule", raw),
        rows_read=file.rows_read,
        duplicates=duplicates,
        concerns=concerns,
        anomalies=odd,
        partial=LacksFields({VENUE_VOLUME.name: unknown}),
        refused={VENUE_VOLUME.name: keys},
        proven=totals is not None and not wrong,
    )


def _unknown(columns: Sequence[str], venue_class: str, conflicting: pl.DataFrame) -> tuple[Unknown, ...]:
    """What a part of these columns does not carry. Without its column of identifiers (MPID for ATSs, CRD
    numbers for firms) a venue is known by its name alone; without products, rows that conflict may be of
    several."""
    lacking = [name for name, column in _CARRIED_IN.items() if column not in columns]
    stand_ins = {}
    if (parse.MPID if venue_class == ATS else parse.CRD) not in columns:
        lacking.append("venue_id")
        stand_ins["venue_id"] = "venue_name"
    indistinct = conflicting if "product_type" in lacking else None
    # What was said of other volumes, notional and dates alike, is not true of new ones.
    tied_to = ("share_volume", "trade_count")
    return (Unknown(tuple(lacking), {"venue_class": venue_class}, stand_ins, indistinct, tied_to),) if lacking else ()


def _type_rows(rows: pl.DataFrame, tier: str) -> pl.DataFrame:
    """The fields under our names and types, with what the rules and the identity checks need beside them.

    Names and symbols stay exactly as they are; what is compared or converted loses surrounding spaces.
    What cannot be converted is null; ``bad_notional`` and ``bad_date`` tell that from blank. Columns that
    the file does not have are blank.
    """
    import polars as pl

    def field(name: str) -> pl.Expr:
        return pl.col(name) if name in rows.columns else pl.lit("")

    def text(name: str) -> pl.Expr:
        return field(name).str.strip_chars()

    def number(name: str) -> pl.Expr:
        if name not in rows.columns:
            return pl.lit(None, pl.Float64)
        value = rows[name].cast(pl.Float64, strict=False)
        if value.null_count():  # because of spaces, or it is no number
            value = rows[name].str.strip_chars().cast(pl.Float64, strict=False)
        # Adding zero makes -0 the same as 0.
        return pl.when(pl.lit(value).is_finite()).then(pl.lit(value) + 0.0)

    converted = rows.with_columns(number(parse.NOTIONAL).alias("notional"), *_days(rows))
    typed = converted.select(
        "line",
        text(parse.TIER_NAME).alias("tier_name"),
        text(parse.TIER_CODE).alias("tier_code"),
        text(parse.SUMMARY).alias("summary_type"),
        text(parse.MPID).alias("mpid"),
        text(parse.CRD).alias("crd"),
        field(parse.NAME).alias("venue_name"),
        field(parse.SYMBOL).alias("symbol"),
        field(parse.ISSUE).alias("issue_name"),
        field(parse.PRODUCT).alias("product_type"),
        number(parse.SHARES).alias("share_volume"),
        number(parse.TRADES).alias("trade_count"),
        "notional",
        *_DATES,
        "bad_date",
        bad_notional=(text(parse.NOTIONAL) != "") & pl.col("notional").is_null(),
    )
    return typed.with_columns(_own_tier(typed, tier).alias("own_tier"), _venue_id().alias("venue_id"))


def _days(rows: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """The dates of the fields, and as ``bad_date`` whether one of a row is neither a date nor blank."""
    import polars as pl

    days: list[pl.Series | pl.Expr] = []
    bad = [pl.lit(value=False)]
    for name, source in _DATES.items():
        if source not in rows.columns:
            days.append(pl.lit(None, pl.Date).alias(name))
            continue
        # Of a whole week's texts few are distinct: each is read once.
        texts = rows[source].unique()
        places = rows[source].cast(pl.Enum(texts)).to_physical()
        text = texts.str.strip_chars()
        value = text.str.to_date("%Y-%m-%d", strict=False)
        shaped = text.str.contains("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
        day = value.set(~(shaped & value.is_between(FIRST_DATE, LAST_DATE)).fill_null(value=False), None)
        days.append(day.gather(places).alias(name))
        bad.append(pl.lit((day.is_null() & (text != "")).gather(places)))
    return [*days, pl.any_horizontal(bad).alias("bad_date")]


def _own_tier(typed: pl.DataFrame, tier: str) -> pl.Expr:
    """Whether a row names the tier, and nothing but it, in the tier columns it fills."""
    import polars as pl

    def agrees(name: str) -> pl.Expr:
        spellings = [text for text in typed[name].unique() if text == "" or find_tier(text) == tier]
        return pl.col(name).is_in(spellings)

    named = (pl.col("tier_name") != "") | (pl.col("tier_code") != "")
    return named & agrees("tier_name") & agrees("tier_code")


def _venue_id() -> pl.Expr:
    """MPID; else DE_MINIMIS for FINRA's unattributed rows; else the CRD number; else the firm's name."""
    import polars as pl

    unattributed = pl.col("venue_name").str.strip_chars().str.to_lowercase() == "de minimis firms"
    return (
        pl.when(pl.col("mpid") != "")
        .then("mpid")
        .when(unattributed)
        .then(pl.lit(DE_MINIMIS))
        .when(pl.col("crd") != "")
        .then("crd")
        .otherwise("venue_name")
    )


def _broken_rule(venue_class: str, file_week: date | None) -> pl.Expr:
    """The first rule that a row breaks, as column ``rule``; null if it breaks none."""
    import polars as pl

    shares, trades = pl.col("share_volume"), pl.col("trade_count")
    summary = pl.col("summary_type")
    rules = {
        "wrong_tier": ~pl.col("own_tier"),
        "wrong_summary_type": (summary != "") & (summary != identity.SUMMARY_TYPES[venue_class]),
        "blank_symbol": pl.col("symbol").str.strip_chars() == "",
        # Every ATS has an MPID; a row without one is a firm's, and no venue of this leg.
        "missing_venue": (pl.col("mpid" if venue_class == ATS else "venue_id").str.strip_chars() == ""),
        "bad_number": shares.is_null() | trades.is_null() | pl.col("bad_notional"),
        "negative": (shares < 0) | (trades < 0) | (pl.col("notional") < 0),
        "fractional_trades": trades != trades.floor(),
        "out_of_range": (shares >= TOO_LARGE) | (trades >= TOO_LARGE),
        "bad_date": pl.col("bad_date"),
        "wrong_week": pl.col("week_start") != pl.lit(file_week, dtype=pl.Date),
    }
    return pl.coalesce(pl.when(broken).then(pl.lit(name)) for name, broken in rules.items()).alias("rule")


def _by_key(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows sorted by key, those of one key as they came.

    Distinct texts are put in order, and rows by one number made of their places in it: half of what comparing the texts
    of each row with those of others takes. Only where rows differ in the name of the issue alone is all compared.
    """
    import polars as pl

    place, places = pl.lit(0, pl.UInt64), 1
    for name in _KEY[:-1]:
        texts = rows[name].unique().sort()
        if texts.len() > 1:
            place = place * texts.len() + pl.col(name).cast(pl.Enum(texts)).to_physical().cast(pl.UInt64)
            places *= texts.len()
    if places < 2**63:
        ordered = rows.with_columns(place=place).sort("place", maintain_order=True)
        if not (ordered["place"] == ordered["place"].shift(1)).any():
            return ordered.drop("place")
    return rows.sort(_KEY, maintain_order=True)


def _make_unique(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Split rows sorted by key: unique rows, all rows whose key has several values, number of duplicates.

    Rows equal in every column of the table are duplicates; the first of them is kept.
    """
    import polars as pl

    def repeats(names: Sequence[str]) -> pl.Expr:
        return pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in names)

    compared = rows.with_columns(same_key=repeats(_KEY), same_values=repeats(_VALUES))
    if not compared["same_key"].any():
        return rows, rows.clear(), 0
    # Only rows that share a key are grouped: grouping all of them costs more than everything else here.
    shared = pl.col("same_key") | pl.col("same_key").shift(-1, fill_value=False)
    grouped = compared.filter(shared).with_columns(group=(~pl.col("same_key")).cum_sum())
    conflict = (pl.col("same_key") & ~pl.col("same_values")).any().over("group")
    conflicting = grouped.filter(conflict)
    unique = compared.filter(~pl.col("same_key")).join(conflicting, on="line", how="anti", maintain_order="left")
    return unique, conflicting, rows.height - unique.height - conflicting.height
