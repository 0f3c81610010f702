"""What a price source declares, and where the installed ones are found.

A source is an object found through the entry point group ``market_spine.price_sources``: a ``Vendor`` that is
called over HTTP, or an ``Offline`` one that makes its answers itself. The platform's own are registered like
anybody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal, Protocol

from market_spine.core.capture import Part
from market_spine.core.quota import Limit
from market_spine.errors import MarketSpineError

if TYPE_CHECKING:
    import polars as pl

GROUP = "market_spine.price_sources"

BARS, SPLITS, DIVIDENDS = "bars", "splits", "dividends"
"""What a part holds: its name up to a ``-``. Further pages and sessions are ``bars-2``, ``bars-3``, ..."""

FETCHED_AT = "fetched_at"
"""Metadata of every part: the moment before its request went out."""
LATEST = "latest"
"""Metadata of a bars part: the latest session that could be had."""
SPLIT_RATIOS = "split_ratios"
"""Metadata of a bars part: the splits on file, as ``agreement.note_ratios`` writes them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The bars to ask for: of one symbol, from one session to another, both included."""

    symbol: str
    first: date
    last: date
    full: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP GET, without address and key.

    Attributes:
        part: the name of the part that its answer becomes.
        form: how the answer is to be parsed; kept in the part's metadata.
        path: below the source's address.
        params: the query.
    """

    part: str
    form: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)


FindingKind = Literal[
    "ok",
    "auth",
    "throttle",
    "daily_quota",
    "entitlement",
    "not_yet",
    "out_of_history",
    "unknown_symbol",
    "no_data",
    "bad_request",
    "transient",
    "unknown",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """What an answer is, with the source's own words where it refuses."""

    kind: FindingKind
    message: str = ""


@dataclass(frozen=True, slots=True)
class RawBars:
    """Bars as a part has them, before any rule.

    Attributes:
        frame: ``line`` (Int64, from 1), ``raw`` (String), ``trade_date`` (Date), ``open``, ``high``, ``low``,
            ``close``, ``volume``, ``vwap``, ``trade_count`` (Float64); null what is missing or no number.
        adjusted: whether prices are said to be adjusted.
    """

    frame: pl.DataFrame
    adjusted: bool = False


class PriceSource(Protocol):
    """What every source of prices has."""

    @property
    def name(self) -> str:
        """Its word for ``--source``; the ``source`` column of every row."""

    @property
    def offline(self) -> bool:
        """Whether it is an ``Offline`` source rather than a ``Vendor``."""

    def notation(self, symbol: str) -> str:
        """The vendor's spelling of a canonical symbol; raises SourceError if it has none."""

    def parse_bars(self, part: Part, symbol: str) -> RawBars:
        """Read a ``bars`` part; raises ContentError for an answer that is not what was asked for."""

    def parse_splits(self, part: Part, symbol: str) -> pl.DataFrame:
        """Read a ``splits`` part into ``ex_date``, ``split_from``, ``split_to``, ``kind``."""

    def parse_dividends(self, part: Part, symbol: str) -> pl.DataFrame:
        """Read a ``dividends`` part into ``ex_date``, ``kind``, ``amount``, ``currency``."""


class Offline(PriceSource, Protocol):
    """A source that needs no network, key or quota."""

    def generate(self, wanted: Wanted, fetched_at: datetime) -> Sequence[Part]:
        """The answer: a ``bars`` part, and others where it has them."""


class Vendor(PriceSource, Protocol):
    """A source behind HTTP. All methods are pure: they make requests and read answers."""

    @property
    def url(self) -> str:
        """Its address."""

    @property
    def url_variable(self) -> str:
        """Environment variable that replaces the address."""

    @property
    def key_variables(self) -> tuple[str, ...]:
        """Environment variables that may hold the key, the first set one counts."""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What the free plan allows."""

    @property
    def limits_variable(self) -> str:
        """Environment variable that replaces the limits."""

    @property
    def history_years(self) -> int | None:
        """Years of history that every plan has, to fall back to; None where the source takes no range."""

    def credentials(self, key: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The key as (headers, query parameters)."""

    def bars(self, wanted: Wanted) -> Call:
        """Ask for daily bars of one symbol."""

    def actions(self, symbol: str) -> Sequence[Call]:
        """Ask for its splits and dividends."""

    def many_actions(self, symbols: Sequence[str]) -> Sequence[Call]:
        """Ask for those of several symbols in the same calls, where the source can."""

    def session(self, day: date) -> Call | None:
        """Ask for all symbols' bars of one session, where the source can."""

    def next_page(self, call: Call, body: bytes, page: int) -> Call | None:
        """Ask for what an answer left out; None if it is complete."""

    def explain(self, symbol: str) -> Call | None:
        """Ask why a symbol has no bars, where the source can tell."""

    def explained(self, body: bytes, symbol: str) -> str:
        """What the answer to ``explain`` says: ``delisted on ...``; empty if it does not know the symbol."""

    def classify(self, status: int, body: bytes) -> Finding:
        """Tell success from each kind of refusal."""


@cache
def names() -> tuple[str, ...]:
    """The installed sources, in alphabetical order."""
    return tuple(sorted(entry.name for entry in entry_points(group=GROUP)))


@cache
def load(name: str) -> PriceSource:
    """An installed source.

    Raises:
        MarketSpineError: kind ``no_source``, naming those that are installed.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            source: PriceSource = entry.load()
            return source
    raise MarketSpineError(
        f"no price source {name!r} is installed",
        hint=f"installed: {', '.join(names())}; docs/prices.md says how to add one",
        kind="no_source",
    )
