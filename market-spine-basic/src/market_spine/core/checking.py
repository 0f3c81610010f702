"""What a check says: that something is well, or what is wrong with it and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from market_spine.errors import MarketSpineError


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check. ``message`` says what was found; ``hint`` what to do, empty if all is well."""

    name: str
    ok: bool
    message: str
    hint: str = ""


def checked(name: str, test: Callable[[], str]) -> CheckResult:
    """The outcome of a test that says what it found, or raises what is wrong."""
    try:
        return CheckResult(name, True, test())
    except MarketSpineError as error:
        return CheckResult(name, False, error.message, error.hint)
