"""A market read from JSON records of the service, such as a user has kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market_spine.errors import ContentError, UsageError
from spine.domains.finra.otc_transparency.partitions import find_tier
from spine.domains.finra.otc_transparency.simulator import rollup
from spine.domains.finra.otc_transparency.simulator.fields import (
    DATE,
    FIELDS,
    IDENTITY,
    NUMBER,
    SCALE,
    TIERS,
    Field,
    schema,
)
from spine.domains.finra.otc_transparency.simulator.market import Key, published

if TYPE_CHECKING:
    import polars as pl

_SUMMARY_TYPE = re.compile(r"(?:ATS|OTC)_W_(?:SMBL_FIRM|SMBL|FIRM|VOL_STATS)(?![A-Z_])")
_CODES = {tier: code for code, tier in TIERS.items()}
_ROLLUP_KEYS = {
    "SMBL": ("summaryTypeCode", "weekStartDate", "tierIdentifier", "issueSymbolIdentifier"),
    "FIRM": ("summaryTypeCode", "weekStartDate", "tierIdentifier", "MPID", "firmCRDNumber", "marketParticipantName"),
}


class RecordedMarket:
    """A Market of records in files ``*.json`` of a folder, each a JSON array of objects.

    A record may lack fields: the tier then follows from tierDescription, the summary type from the file's
    name, the publication date from the calendar. A record is shown from its lastUpdateDate on; of several
    with the same identity the latest counts. Roll-ups for which no record counts are computed.

    Args:
        folder: where the files are.

    Raises:
        UsageError: if the folder cannot be read or holds no record.
        ContentError: if a file is not what it should be.
    """

    def __init__(self, folder: Path) -> None:
        import polars as pl

        records = [row for path in _files(folder) for row in _read(path)]
        if not records:
            raise UsageError(f"--data: {folder} holds no records", hint="it takes *.json files with arrays of records")
        kept = schema()
        self._all = pl.DataFrame(records, schema=kept, orient="row").unique(maintain_order=True)

    def keys(self, today: date) -> Sequence[Key]:
        """The partitions in which a record is known by ``today``."""
        return [key for key, first in self._first_days.items() if first <= today]

    def summary_types(self, key: Key) -> Sequence[str]:
        """Those of the partition's records, and those computed from them."""
        held = set(self._parts[key]["summaryTypeCode"])
        computed = {f"{name[:4]}W_{kind}" for name in held & {*rollup.SYMBOL_FIRM} for kind in ("SMBL", "FIRM")}
        return sorted(held | computed)

    def rows(self, key: Key, today: date) -> pl.DataFrame:
        """The records known on ``today``, and the roll-ups they lack."""
        import polars as pl

        known = (
            self._parts[key]
            .filter(pl.max_horizontal("initialPublishedDate", "lastUpdateDate") <= today)
            .sort("lastUpdateDate", maintain_order=True)
            .unique(list(IDENTITY), keep="last", maintain_order=True)
        )
        firms = known.filter(pl.col("summaryTypeCode").is_in(rollup.SYMBOL_FIRM))
        computed = {"SMBL": rollup.per_symbol(firms, pl.col("productTypeCode")), "FIRM": rollup.per_firm(firms)}
        missing = [
            rows.join(known, on=_ROLLUP_KEYS[kind], how="anti", nulls_equal=True) for kind, rows in computed.items()
        ]
        return pl.concat([known, *missing])

    @cached_property
    def _parts(self) -> Mapping[Key, pl.DataFrame]:
        parts = self._all.partition_by("weekStartDate", "tierIdentifier", as_dict=True)
        return {Key(*key): rows for key, rows in parts.items()}

    @cached_property
    def _first_days(self) -> Mapping[Key, date]:
        import polars as pl

        day = pl.max_horizontal("initialPublishedDate", "lastUpdateDate")
        return {key: rows.select(day.min().alias("day"))["day"][0] for key, rows in self._parts.items()}


def _files(folder: Path) -> Sequence[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.is_file())
    except OSError as error:
        raise UsageError(f"--data: {folder} cannot be read: {error.strerror or error}") from error


def _read(path: Path) -> Iterator[tuple[Any, ...]]:
    try:
        document = json.loads(path.read_bytes(), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise _refused(path, str(error)) from error
    if not isinstance(document, list) or not all(isinstance(record, dict) for record in document):
        raise _refused(path, "it is not a JSON array of objects")
    for number, record in enumerate(document, 1):
        try:
            complete = _complete(record, path.stem)
            yield tuple(_value(field, complete.get(field.name)) for field in FIELDS)
        except (ValueError, TypeError, InvalidOperation, KeyError) as error:
            raise _refused(path, f"record {number}: {error}") from error


def _complete(record: Mapping[str, Any], file_name: str) -> Mapping[str, Any]:
    """The record with what it may lack."""
    tier = record.get("tierIdentifier") or _CODES.get(find_tier(str(record.get("tierDescription"))) or "")
    named = _SUMMARY_TYPE.findall(file_name)
    summary_type = record.get("summaryTypeCode") or (named[-1] if named else None)
    monday = record.get("weekStartDate") or record.get("summaryStartDate")
    for name, value in {"weekStartDate": monday, "tierIdentifier": tier, "summaryTypeCode": summary_type}.items():
        if value is None:
            raise ValueError(f"it has no {name}, and nothing tells it")
    first = record.get("initialPublishedDate")
    if first is None:
        first = str(published(date.fromisoformat(str(monday)), str(tier) if tier in TIERS else "T2"))
    told = {
        "weekStartDate": monday,
        "summaryStartDate": monday,
        "tierIdentifier": tier,
        "summaryTypeCode": summary_type,
    }
    told |= {"initialPublishedDate": first, "lastUpdateDate": first}
    return {**told, **{name: value for name, value in record.items() if value is not None}}


def _value(field: Field, value: Any) -> Any:
    if value is None:
        return None
    if field.type == DATE:
        return date.fromisoformat(value)
    if field.type == NUMBER:
        number = Decimal(str(value)) * (SCALE if field.scaled else 1)
        if number != number.to_integral_value():
            raise ValueError(f"{field.name} {value} has more decimals than FINRA uses")
        return int(number)
    if not isinstance(value, str):
        raise TypeError(f"{field.name} {value!r} is not a text")
    return value


def _refused(path: Path, why: str) -> ContentError:
    return ContentError(
        f"{path} cannot be served: {why}", hint="it takes a JSON array of weeklySummary records; move other files away"
    )
