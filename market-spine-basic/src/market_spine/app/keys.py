"""Partitions as people type them: with other separators, in another case, or in part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from market_spine.core.domain import Domain
from market_spine.core.partition import Partition
from market_spine.errors import UsageError
from market_spine.wording import NAMES

Known = Callable[[str], Collection[str]]
"""Domain name to the keys of its partitions that the store knows."""


class Unclear(UsageError):
    """A text that could be a key of the domain, but does not say which; ``fits``: known ones that it could be."""

    fits: Sequence[str] = ()


def find_partition(domain: Domain, text: str, known: Known) -> Partition:
    """The partition that a text means: one of those known, else one that the domain could have.

    The key itself comes first; else what the domain makes of it, in any case, which may leave values open as long
    as one known partition fits.

    Raises:
        Unclear: it means several, or leaves a value open; says which keys to type.
        UsageError: it means none.
    """
    exact, problem = _exactly(domain, text)
    try:
        values = domain.spelt(text)
    except UsageError:
        if exact is not None:
            return exact
        raise
    keys = known(domain.name)
    if exact is not None and exact.key in keys:
        return exact
    fits = _fitting(values, keys)
    if len(fits) == 1:
        return domain.partition(fits[0])
    if fits:
        unclear = Unclear(
            f"'{text}' fits {len(fits)} partitions of {domain.name}", hint=f"type one of them: {_listed(fits)}"
        )
        unclear.fits = fits
        raise unclear
    if None not in values:
        exact = _exactly(domain, "|".join(map(str, values)))[0] or exact
    if exact is not None:
        return exact
    if problem is not None and any(values) and None in values:
        offered = _completed(values, keys)
        hint = f"a key is such as {_listed(offered)}" if offered else problem.hint
        raise Unclear(f"'{text}' fits no known partition of {domain.name}", hint=hint) from problem
    raise problem or UsageError(f"'{text}' is no partition of {domain.name}")


def spelt_value(domain: Domain, text: str, place: int) -> str | None:
    """The value of a partition at that place that a text alone means; None if it means none."""
    try:
        return domain.spelt(text)[place]
    except UsageError:
        return None


def _exactly(domain: Domain, text: str) -> tuple[Partition | None, UsageError | None]:
    try:
        return domain.partition(text), None
    except UsageError as error:
        return None, error


def _fitting(values: Sequence[str | None], keys: Collection[str]) -> list[str]:
    """The known keys with these values, newest or last first; those in the very case, if there are any."""
    if not any(values):
        return []
    parted = [(key, key.split("|")) for key in keys]
    for same in (str, str.casefold):
        fits = [
            key
            for key, parts in parted
            if len(parts) == len(values)
            and all(value is None or same(value) == same(part) for value, part in zip(values, parts, strict=True))
        ]
        if fits:
            return sorted(fits, reverse=True)
    return []


def _completed(values: Sequence[str | None], keys: Collection[str]) -> list[str]:
    """The keys that the text could stand for, with the one value that it leaves open as other keys have it."""
    if list(values).count(None) != 1:
        return []
    place = list(values).index(None)
    known = sorted({key.split("|")[place] for key in keys}, reverse=True)
    return ["|".join(value or each for value in values) for each in known]


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(f"'{key}'" for key in keys[:NAMES])
    return f"{shown}, ..." if len(keys) > NAMES else shown
