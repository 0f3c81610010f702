"""What a request asks for, checked the way the service checks it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from spine.domains.finra.otc_transparency.simulator.fields import DATE, FIELD, NUMBER, SCALE, TEXT

if TYPE_CHECKING:
    import polars as pl

DEFAULT_LIMIT = 1_000
MAX_LIMIT = 5_000
MAX_ASYNC_LIMIT = 100_000
MAX_OFFSET = 500_000

EQUAL = "EQUAL"
BETWEEN = "BETWEEN"
IN = "IN"
COMPARE_TYPES = (EQUAL, "NOT_EQUAL", "GREATER", "LESSER", "GTE", "LTE", "BEGINS_WITH")
DELIMITERS = (",", "|", "\t", "\x01")
BODY_KEYS = (
    *("fields", "compareFilters", "dateRangeFilters", "domainFilters", "sortFields"),
    *("limit", "offset", "delimiter", "quoteValues", "async"),
)

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?: \d{2}:\d{2}:\d{2}\.\d{3})?")
_LARGEST = 2**63 - 1


class QueryRefused(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        message: what the service says is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a field.

    Attributes:
        name: the field.
        operation: a compare type, ``BETWEEN`` (two values, both included) or ``IN``.
        values: as the field's column holds them: text, date or whole number.
    """

    name: str
    operation: str
    values: tuple[Any, ...]

    def expression(self) -> pl.Expr:
        """The condition; a null meets none, not even ``NOT_EQUAL``."""
        import polars as pl

        column, value = pl.col(self.name), self.values[0]
        match self.operation:
            case "EQUAL":
                return column == pl.lit(value)
            case "NOT_EQUAL":
                return column != pl.lit(value)
            case "GREATER":
                return column > pl.lit(value)
            case "LESSER":
                return column < pl.lit(value)
            case "GTE":
                return column >= pl.lit(value)
            case "LTE":
                return column <= pl.lit(value)
            case "BEGINS_WITH":
                return column.str.starts_with(value)
            case "BETWEEN":
                return column.is_between(pl.lit(value), pl.lit(self.values[1]))
            case _:
                return column.is_in(list(self.values))


@dataclass(frozen=True, slots=True)
class ServedQuery:
    """A checked request.

    Attributes:
        fields: what to show, in no particular order.
        filters: all must hold.
        sort: (field, descending), the most important first.
        limit: rows wanted, not above the platform's maximum.
        offset: rows to pass over.
        wants_async: answer later, by way of ``async-requests``.
        delimiter: of delimited text.
        quote: quote the values of delimited text.
    """

    fields: tuple[str, ...]
    filters: tuple[Filter, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    wants_async: bool = False
    delimiter: str = ","
    quote: bool = False

    @property
    def max_limit(self) -> int:
        """The platform's maximum for this kind of request."""
        return MAX_ASYNC_LIMIT if self.wants_async else MAX_LIMIT


@dataclass(frozen=True, slots=True)
class QueryReader:
    """Reads requests for one dataset.

    Attributes:
        names: the dataset's fields.
        partition_fields: those that a sorted request must fix.
        sortable: whether it can be sorted at all.
        extra: further fields that may be filtered by but are not shown, such as ``historicalWeek``.
    """

    names: tuple[str, ...]
    partition_fields: tuple[str, ...]
    sortable: bool = True
    extra: tuple[str, ...] = field(default=())

    def parameters(self, given: Mapping[str, str]) -> ServedQuery:
        """The query of a GET request. Parameters the service does not know are ignored, filters among them."""
        body: dict[str, Any] = {name: given[name] for name in ("limit", "offset", "delimiter") if name in given}
        for name in ("fields", "sortFields"):
            if name in given:
                body[name] = [each.strip() for each in given[name].split(",") if each.strip()]
        for name in ("quoteValues", "async"):
            if name in given:
                body[name] = {"true": True, "false": False}.get(given[name].lower(), given[name])
        return self.body(body)

    def body(self, body: Mapping[str, Any]) -> ServedQuery:
        """The query of a POST request's JSON body; raises QueryRefused, status 400."""
        unknown = [name for name in body if name not in BODY_KEYS]
        if unknown:
            raise QueryRefused(400, f"Unrecognized field in the request: {unknown[0]}")
        filters = tuple(self._filters(body))
        wants_async = _flag(body, "async")
        limit = _whole(body, "limit", DEFAULT_LIMIT, least=1)
        offset = _whole(body, "offset", 0, least=0)
        if offset > MAX_OFFSET:
            raise QueryRefused(400, f"Offset {offset} exceeds the maximum of {MAX_OFFSET}")
        delimiter = body.get("delimiter", ",")
        if delimiter not in DELIMITERS:
            raise QueryRefused(400, f"Invalid delimiter: {delimiter!r}")
        names = tuple(self._name(name) for name in _list(body, "fields"))
        return ServedQuery(
            fields=names or self.names,
            filters=filters,
            sort=self._sort(body, filters),
            limit=min(limit, MAX_ASYNC_LIMIT if wants_async else MAX_LIMIT),
            offset=offset,
            wants_async=wants_async,
            delimiter=delimiter,
            quote=_flag(body, "quoteValues"),
        )

    def _name(self, given: Any, *more: str) -> str:
        for name in (*self.names, *more):
            if isinstance(given, str) and given.lower() == name.lower():
                return name
        raise QueryRefused(400, f"Invalid field name: {given}")

    def _sort(self, body: Mapping[str, Any], filters: Sequence[Filter]) -> tuple[tuple[str, bool], ...]:
        wanted = _list(body, "sortFields")
        if not wanted:
            return ()
        if not self.sortable:
            raise QueryRefused(400, "Sorting is not supported for this dataset")
        fixed = {each.name for each in filters if each.operation == EQUAL}
        missing = [name for name in self.partition_fields if name not in fixed]
        if missing:
            raise QueryRefused(
                400,
                "Sorting is allowed only if all partitions keys are specified in EQUAL CompareFilter."
                f"Partition keys missing or not using EQUAL CompareFilter: {', '.join(missing)}",
            )
        texts = [text if isinstance(text, str) else "" for text in wanted]
        return tuple((self._name(text.removeprefix("-").removeprefix("+")), text.startswith("-")) for text in texts)

    def _filters(self, body: Mapping[str, Any]) -> Sequence[Filter]:
        found = []
        for each in _objects(body, "compareFilters", {"fieldName", "fieldValue", "compareType"}):
            name = self._name(each["fieldName"], *self.extra)
            operation = str(each["compareType"]).upper()
            kind = _kind(name)
            if operation not in COMPARE_TYPES or (operation == "BEGINS_WITH" and kind != TEXT):
                raise QueryRefused(400, f"Invalid compareType {each['compareType']} for field {name}")
            found.append(Filter(name, operation, (_value(name, each["fieldValue"]),)))
        for each in _objects(body, "dateRangeFilters", {"fieldName", "startDate", "endDate"}):
            name = self._name(each["fieldName"])
            if _kind(name) != DATE:
                raise QueryRefused(400, f"Field {name} is not a date")
            found.append(Filter(name, BETWEEN, (_value(name, each["startDate"]), _value(name, each["endDate"]))))
        for each in _objects(body, "domainFilters", {"fieldName", "values"}):
            name = self._name(each["fieldName"])
            if not isinstance(each["values"], list) or not each["values"]:
                raise QueryRefused(400, f"Domain filter on {name} needs values")
            found.append(Filter(name, IN, tuple(_value(name, value) for value in each["values"])))
        return found


def _kind(name: str) -> str:
    return FIELD[name].type if name in FIELD else TEXT


def _value(name: str, given: Any) -> Any:
    """A filter's value as the column holds it."""
    kind = _kind(name)
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise QueryRefused(400, f"Invalid value for field {name}")
    if kind == DATE:
        return _date(str(given))
    if kind == TEXT:
        if not str(given).isprintable():
            raise QueryRefused(400, f"Invalid value for field {name}")
        return str(given)
    assert kind == NUMBER
    try:
        scaled = Decimal(str(given)) * (SCALE if FIELD[name].scaled else 1)
        # What lies between two whole numbers of the column, or beyond them, is compared as a fraction.
        if not scaled.is_finite() or abs(scaled) > _LARGEST:
            raise InvalidOperation
    except (InvalidOperation, ValueError) as error:
        raise QueryRefused(400, f"Invalid number for field {name}: {given}") from error
    return int(scaled) if scaled == scaled.to_integral_value() else float(scaled)


def _date(text: str) -> date:
    wrong = QueryRefused(400, "Invalid date field format. Must be yyyy-MM-dd or yyyy-MM-dd HH:mm:ss.SSS")
    if not _DAY.fullmatch(text):
        raise wrong
    try:
        return datetime.fromisoformat(text).date()
    except ValueError as error:
        raise wrong from error


def _objects(body: Mapping[str, Any], key: str, needed: set[str]) -> Sequence[Mapping[str, Any]]:
    given = _list(body, key)
    for each in given:
        if not isinstance(each, dict) or not needed <= set(each):
            raise QueryRefused(400, f"{key} needs objects with {', '.join(sorted(needed))}")
        unknown = sorted(set(each) - needed - {"description"})
        if unknown:
            raise QueryRefused(400, f"Unrecognized field in {key}: {unknown[0]}")
    return given


def _list(body: Mapping[str, Any], key: str) -> list[Any]:
    given = body.get(key)
    if given is None:
        return []
    if not isinstance(given, list):
        raise QueryRefused(400, f"{key} must be an array")
    return given


def _whole(body: Mapping[str, Any], key: str, default: int, *, least: int) -> int:
    given = body.get(key, default)
    text = str(given)
    if isinstance(given, bool) or not re.fullmatch(r"-?[0-9]{1,18}", text) or int(text) < least:
        raise QueryRefused(400, f"Invalid {key}: {given}")
    return int(text)


def _flag(body: Mapping[str, Any], key: str) -> bool:
    given = body.get(key, False)
    if not isinstance(given, bool):
        raise QueryRefused(400, f"Invalid {key}: {given}")
    return given
