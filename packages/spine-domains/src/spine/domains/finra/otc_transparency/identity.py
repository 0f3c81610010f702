"""Whether a file is the one its partition asked for: of that tier, that venue class and that week.

Another tier or class is refused: no reading of the file could be right. The week is told by up to three
witnesses (the file's name, the ``weekStartDate`` column, and the most common ``lastUpdateDate`` turned back
through FINRA's calendar); if one contradicts the partition, the payload is held until a person decides.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from market_spine.core.capture import Part
from market_spine.core.domain import Concern
from market_spine.core.partition import Partition
from market_spine.errors import ContentError
from spine.domains.finra.otc_transparency.partitions import (
    week_and_tier,
    week_ending_of,
    week_of_publication,
)
from spine.domains.finra.otc_transparency.schema import ATS, NON_ATS

if TYPE_CHECKING:
    import polars as pl

SUMMARY_TYPES = {ATS: "ATS_W_SMBL_FIRM", NON_ATS: "OTC_W_SMBL_FIRM"}
"""FINRA's summaryTypeCode of the rows per symbol and venue; every other code is a roll-up of them."""

_OTHER_FILE = "put the right file in its place, or rename it if its name is wrong"


def refuse_other_tier(typed: pl.DataFrame, tier: str, part: Part) -> None:
    """Raise ContentError ``wrong_tier`` if more rows name another tier than this one.

    Args:
        typed: columns ``own_tier`` (Boolean), ``tier_name`` and ``tier_code`` (String).
        tier: the partition's tier.
        part: the file, for the message.
    """
    import polars as pl

    stated = pl.when(pl.col("tier_code") != "").then("tier_code").otherwise("tier_name").alias("tier")
    others = typed.filter(~pl.col("own_tier")).select(stated).filter(pl.col("tier") != "")
    if others.height > typed["own_tier"].sum():
        raise ContentError(
            f"{part.origin} is not of {tier}: {others.height:,} of its {typed.height:,} rows are of another "
            f"tier, mostly {_most_common_text(others['tier'])!r}",
            kind="wrong_tier",
            hint=_OTHER_FILE,
        )


def refuse_other_class(typed: pl.DataFrame, part: Part) -> None:
    """Raise ContentError if the rows are of the other venue class, or roll-ups.

    ``summaryTypeCode`` decides where it is given. Else the participants do: every ATS row carries an MPID
    and a name that begins with it, non-ATS rows carry neither.

    Args:
        typed: columns ``summary_type``, ``mpid`` and ``venue_name`` (String).
        part: the file; its name is the venue class.
    """
    import polars as pl

    expected = SUMMARY_TYPES[part.name]
    stated = typed.filter(pl.col("summary_type") != "")["summary_type"]
    others = stated.filter(stated != expected)
    if others.len() * 2 > stated.len():
        found = _most_common_text(others)
        other_class = found in SUMMARY_TYPES.values()
        raise ContentError(
            f"{part.origin} should hold {expected} rows, but {others.len():,} of its {typed.height:,} rows "
            f"are of another summary type, mostly {found!r}",
            kind="wrong_venue_class" if other_class else "wrong_summary_type",
            hint=_OTHER_FILE,
        )
    if stated.len() or typed.is_empty():
        return
    with_mpid = typed.filter(pl.col("mpid") != "")
    if part.name == ATS:
        if with_mpid.height or not (typed["venue_name"].str.strip_chars() != "").any():
            return
        found = "none of its rows has an MPID, as in FINRA's non-ATS files"
    else:
        prefixed = with_mpid.filter(pl.col("venue_name").str.starts_with(pl.col("mpid") + " "))
        if prefixed.height * 2 <= typed.height:
            return
        found = f"{prefixed.height:,} of its {typed.height:,} rows name an ATS by its MPID"
    raise ContentError(
        f"{part.origin} does not hold {part.name} rows: {found}", kind="wrong_venue_class", hint=_OTHER_FILE
    )


def check_week(partition: Partition, part: Part, typed: pl.DataFrame) -> tuple[Concern, ...]:
    """A concern if a witness says that the file holds another week than the partition's.

    Kind ``wrong_week`` if the file's own ``weekStartDate`` column says so, else ``week_disagreement``.

    Args:
        partition: what was asked for.
        part: the file; metadata ``name_week`` and ``name_kind`` tell what its name says.
        typed: columns ``week_start`` and ``last_update_date`` (Date).
    """
    week_ending, tier = week_and_tier(partition)
    told: list[tuple[date, str]] = []
    if name_week := part.metadata.get("name_week"):
        by = "a publication date, that of" if part.metadata.get("name_kind") == "publication" else "a day of"
        told.append((date.fromisoformat(name_week), f"its name gives {by}"))
    week_start = most_common(typed["week_start"])
    if week_start:
        told.append((week_ending_of(week_start), f"its weekStartDate column says {week_start}, in"))
    updated = most_common(typed["last_update_date"])
    # The API was asked for this very week; there, rows restated in bulk would be no sign of another one.
    if updated and part.metadata.get("source") != "api":
        week = week_of_publication(updated, tier)
        told.append((week, f"most rows were last updated on {updated}, the publication of"))
    if all(week == week_ending for week, _ in told):
        return ()
    says_so_itself = week_start is not None and week_ending_of(week_start) != week_ending
    witnesses = "; ".join(f"{witness} the week ending {week}" for week, witness in told)
    return (
        Concern(
            kind="wrong_week" if says_so_itself else "week_disagreement",
            message=f"{part.origin} may not hold the week ending {week_ending}: {witnesses}",
            hint=f"replace or rename the file, or load it as the week ending {week_ending} with --force",
        ),
    )


def most_common(days: pl.Series) -> date | None:
    """The most frequent date of a series, the earliest if several are; None if there is no date."""
    counts = days.drop_nulls().value_counts(name="rows").sort(["rows", days.name], descending=[True, False])
    found: date | None = None if counts.is_empty() else counts[days.name][0]
    return found


def _most_common_text(texts: pl.Series) -> str:
    counts = texts.value_counts(name="rows").sort(["rows", texts.name], descending=[True, False])
    return str(counts[texts.name][0])
