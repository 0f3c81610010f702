"""The console's pages: a module each, with a function that makes a request a record of plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from market_spine.errors import MarketSpineError, UsageError
from market_spine.web.reading import Reading

Record = dict[str, Any]
"""A page as plain values: what its template shows, and what its JSON twin is."""


class PageMissing(MarketSpineError):
    """There is nothing under this address."""

    default_kind = "not_found"


class Visit(NamedTuple):
    """One request for a page.

    Attributes:
        place: the values in the path.
        query: the first value of each name in the query.
        several: all values of each name in the query.
    """

    place: Mapping[str, str]
    query: Mapping[str, str]
    several: Mapping[str, Sequence[str]]

    def number(self, name: str, default: int, *, most: int) -> int:
        """A whole number from 1 on; raises UsageError for anything else."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= most or len(text) > 9:
            raise UsageError(f"{name}: {text[:40]!r} is no whole number from 1 to {most}")
        return int(text)

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """One of several words, the first by default; raises UsageError for another."""
        given = self.query.get(name) or allowed[0]
        if given not in allowed:
            raise UsageError(f"{name}: {given[:40]!r} is none of {', '.join(allowed)}")
        return given

    def words(self, name: str, allowed: Sequence[str]) -> list[str]:
        """Words separated by commas, each one of several; raises UsageError for another."""
        given = [word for text in self.several.get(name, ()) for word in text.split(",") if word]
        for word in given:
            if word not in allowed:
                raise UsageError(f"{name}: {word[:40]!r} is none of {', '.join(allowed)}")
        return list(dict.fromkeys(given))


class PageSpec(NamedTuple):
    """One kind of page.

    Attributes:
        path: its address as a Starlette route; the twin is the same with ``.json``.
        template: the file that shows it.
        record: makes it.
        section: the entry of the main navigation that it belongs to.
        table: name of the record's list that ``.csv`` and ``.parquet`` give; empty: there is none.
    """

    path: str
    template: str
    record: Callable[[Reading, Visit], Record]
    section: str = ""
    table: str = ""
