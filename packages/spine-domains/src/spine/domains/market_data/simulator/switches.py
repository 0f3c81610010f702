"""How a simulated vendor behaves where that is a matter of plan, of time, or not known: changeable while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from market_spine.errors import UsageError


def _one(default: str, meaning: str, *allowed: str) -> str:
    chosen: str = field(default=default, metadata={"meaning": meaning, "allowed": allowed})
    return chosen


def _some(default: Sequence[str], meaning: str, *allowed: str) -> tuple[str, ...]:
    chosen: tuple[str, ...] = field(default=tuple(default), metadata={"meaning": meaning, "allowed": allowed})
    return chosen


def _flag(*, default: bool, meaning: str) -> bool:
    chosen: bool = field(default=default, metadata={"meaning": meaning})
    return chosen


def _number(default: int, meaning: str) -> int:
    chosen: int = field(default=default, metadata={"meaning": meaning})
    return chosen


@dataclass
class Switches:
    """What every vendor's switches can do; each is a field of a subclass."""

    def change(self, name: str, value: Any) -> None:
        """Set a switch, to a value or to its text: ``true``, ``25``, ``full,adjusted``.

        Raises:
            UsageError: naming the switch and what it takes.
        """
        known = {item.name: item for item in fields(self)}
        if name not in known:
            raise UsageError(f"--set: {name!r} is no switch of this vendor; there are {', '.join(known)}")
        kind = get_type_hints(type(self))[name]
        setattr(self, name, _read(name, value, kind, known[name].metadata.get("allowed", ())))

    def as_document(self) -> Mapping[str, Any]:
        """Every switch and its value."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def described(cls) -> Mapping[str, str]:
        """Every switch and what it means."""
        return {item.name: item.metadata["meaning"] for item in fields(cls)}


@dataclass
class AlphaVantageSwitches(Switches):
    """The switches of Alpha Vantage."""

    plan: str = _one("free", "free or premium", "free", "premium")
    premium_features: tuple[str, ...] = _some(
        ("full", "adjusted"),
        "what only a premium plan may ask for",
        *("full", "daily", "adjusted", "splits", "dividends", "listing"),
    )
    requests_per_day: int = _number(25, "limit of the free plan a key and New York day, over all functions")
    requests_per_second: int = _number(1, "limit of the free plan")
    requests_per_minute: int = _number(75, "limit of the premium plan")
    count_throttled: bool = _flag(default=False, meaning="requests refused by the second or minute count to the day")
    partial_bars: bool = _flag(default=True, meaning="in trading hours the newest bar is today's, unfinished")
    dots: bool = _flag(default=False, meaning="BRK.B is understood as BRK-B")


@dataclass
class MassiveSwitches(Switches):
    """The switches of Massive."""

    plan: str = _one("free", "free, starter, developer or advanced", "free", "starter", "developer", "advanced")
    not_entitled: tuple[str, ...] = _some(
        (),
        "endpoints that the plan does not include",
        *("range", "grouped", "prev", "open-close", "tickers", "splits", "dividends"),
    )
    keys: tuple[str, ...] = _some((), "the keys that are known; none means any key")
    requests_per_minute: int = _number(5, "limit of the free plan a key, in any 60 seconds")
    count_throttled: bool = _flag(default=False, meaning="requests refused with 429 count, too")
    retry_after: bool = _flag(default=False, meaning="a 429 says in Retry-After how long to wait")
    empty_429: bool = _flag(default=False, meaning="a 429 has no body")
    edge: str = _one(
        "plan",
        "a range that starts before the history of the plan: clip or refuse it; plan clips on the free plan only",
        *("plan", "clip", "refuse"),
    )
    range_today: str = _one("refuse", "a range that ends today on the free plan: refuse or clip it", "refuse", "clip")
    status: str = _one("plan", "status of a success; plan is DELAYED on delayed plans", "plan", "OK", "DELAYED")
    revisions: bool = _flag(default=True, meaning="v, vw and n differ until 11:00 in New York of the next day")


def _read(name: str, value: Any, kind: Any, allowed: Sequence[str]) -> Any:
    if kind is bool and str(value).lower() in {"true", "false"}:
        return str(value).lower() == "true"
    if kind is int and str(value).isdecimal():
        return int(value)
    if kind is str and value in allowed:
        return value
    if kind == tuple[str, ...]:
        words = tuple(word for word in value.split(",") if word) if isinstance(value, str) else tuple(value)
        if not allowed or set(words) <= set(allowed):
            return words
    takes = {bool: "true or false", int: "a whole number", str: "one of "}.get(kind, "some of ")
    raise UsageError(f"--set: {name}={value} is not allowed; it takes {takes}{', '.join(allowed)}")
