"""Records to what a browser or a program takes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from market_spine.web import charts, drawing

if TYPE_CHECKING:
    from jinja2 import Environment

BARE_SITE: Mapping[str, Any] = {
    "title": "Not here",
    "section": "",
    "sections": [("Overview", "/")],
    "as_of": None,
    "moment": None,
    "today": "",
    "errors": 0,
    "store": "",
    "twin": "",
    "path": "/",
    "query": {},
    "who": "",
    "acts": False,
    "stamp": "",
}
"""What stands around a page that could not be made."""

NOTHING = "\N{EN DASH}"
"""What stands where there is no value."""

HERE = Path(__file__).parent
TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


@cache
def assets() -> Mapping[str, tuple[bytes, str]]:
    """Address below ``/static/`` to bytes and media type; each address has a digest, so that it never changes."""
    found = {}
    for path in sorted((HERE / "static").iterdir()):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()[:8]
        found[f"{digest}/{path.name}"] = (data, TYPES[path.suffix[1:]])
    return found


def asset(name: str) -> str:
    """The address of a file of ours."""
    return next(f"/static/{path}" for path in assets() if path.endswith(f"/{name}"))


def escaped(part: str) -> str:
    """A value as a part of a path: nothing in it means anything there."""
    return quote(part, safe="")


def quoted(path: str) -> str:
    """A decoded path as an address again."""
    return quote(path, safe="/")


def address(path: str, query: Mapping[str, Any]) -> str:
    """A path with a query, without what is empty."""
    pairs = [(name, value) for name, value in query.items() if value not in (None, "", [])]
    return path + (f"?{urlencode(pairs)}" if pairs else "")


@cache
def environment() -> Environment:
    """The templates, with every text escaped unless it is markup of ours."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "day": day,
        "clock": clock,
        "number": number,
        "words": words,
        "size": size,
        "seconds": seconds,
        "part": escaped,
        "float_text": repr,
        "json": lambda value: json.dumps(value, indent=2 if isinstance(value, dict) else None, ensure_ascii=False),
    }
    found.globals |= {"asset": asset, "charts": charts, "drawing": drawing}
    return found


def html(template: str, record: Mapping[str, Any], site: Mapping[str, Any]) -> str:
    """A page; ``href`` in it keeps the moment that is shown."""
    as_of = site.get("as_of")

    def href(path: str, **query: Any) -> str:
        return address(path, {"as_of": as_of, **query})

    return environment().get_template(template).render(page=record, site=site, href=href)


def day(text: str | None, today: str = "") -> str:
    """Such as ``23 Dec``; with the year if it is not that of ``today``."""
    if not text:
        return ""
    found = datetime.fromisoformat(text)
    return f"{found.day} {found:%b}" + ("" if text[:4] == today[:4] else f" {found.year}")


def clock(text: str | None) -> str:
    """Such as ``11:05``."""
    return f"{datetime.fromisoformat(text):%H:%M}" if text else ""


def number(value: Any) -> str:
    """With separators of thousands; fractions as short as they are exact enough to read."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() or abs(value) >= 10_000 else f"{value:,.4g}"
    return str(value)


def words(text: str) -> str:
    """A word of the program as people write it: ``not_due`` is ``not due``."""
    return text.replace("_", " ")


def size(count: int) -> str:
    """Bytes for people."""
    for unit, least in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= least:
            return f"{count / least:,.0f} {unit}"
    return f"{count} B"


def seconds(value: float | None) -> str:
    """How long something took."""
    if value is None:
        return NOTHING
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def twin(record: Mapping[str, Any]) -> bytes:
    """The record itself, as JSON."""
    return (json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n").encode("utf-8", "backslashreplace")


def flat(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Rows of a record as a table: what is nested becomes JSON text."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    plain: Callable[[Any], Any] = lambda value: (  # noqa: E731 - one rule, used twice
        json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
    )
    return columns, [[plain(row.get(name)) for name in columns] for row in rows]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows of a record as CSV."""
    columns, cells = flat(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


def as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows of a record as Parquet."""
    import polars as pl

    columns, cells = flat(rows)
    data = {name: [row[place] for row in cells] for place, name in enumerate(columns)}
    file = io.BytesIO()
    pl.DataFrame(data, strict=False, infer_schema_length=None).write_parquet(file)
    return file.getvalue()


TABLES: Mapping[str, tuple[Callable[[Sequence[Mapping[str, Any]]], bytes], str]] = {
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "parquet": (as_parquet, "application/vnd.apache.parquet"),
}
"""Ending to what writes a table, and its media type."""


def linker(path: str, query: Mapping[str, Any]) -> Callable[..., str]:
    """Addresses of the same page with other values in the query."""
    return partial(_changed, path, dict(query))


def _changed(path: str, query: dict[str, Any], /, **changes: Any) -> str:
    return address(path, query | changes)
