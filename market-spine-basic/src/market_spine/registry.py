"""Finds the installed domains. The platform knows them only through the entry point group.

``importlib.metadata`` would find the same, but importing it takes an eighth of a run in which nothing changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module

from market_spine.app.keys import Known, Unclear, find_partition
from market_spine.core.domain import Domain
from market_spine.core.partition import Partition
from market_spine.errors import MarketSpineError, UsageError
from market_spine.wording import nearest

GROUP = "market_spine.domains"


@cache
def entries() -> dict[str, str]:
    """Short name (``finra``) to ``module:attribute``, in alphabetical order; nothing is imported yet."""
    found: dict[str, str] = {}
    for folder in sys.path:
        with suppress(OSError):  # a zip file, or no longer there
            for each in os.scandir(folder or "."):
                if each.name.endswith(".dist-info"):
                    found = {**_read_group(f"{each.path}/entry_points.txt"), **found}
    return dict(sorted(found.items()))


def _read_group(file: str) -> dict[str, str]:
    """The lines ``name = module:attribute`` of our group in a distribution's list of entry points, if it has one."""
    found: dict[str, str] = {}
    try:
        with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - a hundred paths take a hundredth of a run
            data = opened.read()
    except FileNotFoundError:
        return found
    if GROUP.encode() not in data:
        return found
    section = ""
    for line in map(str.strip, data.decode().splitlines()):
        if line.startswith("["):
            section = line
        elif section == f"[{GROUP}]" and "=" in line:
            name, _, target = line.partition("=")
            found[name.strip()] = target.strip()
    return found


def load(short_name: str) -> Domain:
    """Import one domain's descriptor.

    Raises:
        UsageError: no such domain is installed.
        MarketSpineError: it is installed but cannot be imported.
    """
    if short_name not in entries():
        raise UsageError(
            f"no domain '{short_name}' is installed{nearest(short_name, entries())}",
            hint=f"installed domains: {', '.join(entries()) or 'none'}",
        )
    try:
        module, _, attribute = entries()[short_name].partition(":")
        domain: Domain = getattr(import_module(module), attribute)
    except Exception as error:
        raise MarketSpineError(
            f"domain '{short_name}' cannot be loaded: {error}",
            hint="reinstall the distribution that brings it",
            kind="domain_broken",
        ) from error
    return domain


def domains() -> Sequence[Domain]:
    """Every installed domain, in the order of their short names."""
    return tuple(load(name) for name in entries())


def find(name: str) -> Domain:
    """A domain by its short (``finra``) or full name (``finra.otc_transparency``)."""
    if name in entries():
        return load(name)
    installed = domains()
    for domain in installed:
        if domain.name == name:
            return domain
    offered = nearest(name, [*entries(), *(domain.name for domain in installed)])
    raise UsageError(f"'{name}' is not an installed domain{offered}", hint=f"installed domains: {', '.join(entries())}")


def locate(text: str, domain: str | None = None, known: Known = lambda _: ()) -> tuple[Domain, Partition]:
    """The domain and partition that a text means; the domain is inferred from the text unless named.

    Args:
        text: a partition's key, or what people type for it.
        domain: short or full name.
        known: gives the keys that the store knows of a domain.

    Raises:
        UsageError: no domain, or more than one, takes such a text; says what to type.
    """
    if domain is not None:
        found = find(domain)
        return found, find_partition(found, text, known)
    fits: list[tuple[Domain, Partition]] = []
    problems: list[tuple[Domain, UsageError]] = []
    for candidate in (each for each in domains() if each.partition_fields):
        try:
            fits.append((candidate, find_partition(candidate, text, known)))
        except UsageError as error:
            problems.append((candidate, error))
    chosen = fits
    if len(fits) > 1:
        there = [(each, partition) for each, partition in fits if partition.key in known(each.name)]
        chosen = there if len(there) == 1 else fits
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = ", ".join(each.name for each, _ in chosen)
        raise UsageError(f"partition '{text}' fits several domains: {names}", hint="name one with --domain")
    unclear = [error for _, error in problems if isinstance(error, Unclear)]
    nearer = [error for error in unclear if error.fits] or unclear
    if len(nearer) == 1:
        raise nearer[0]
    told = "; ".join(
        f"{each.name}: {error.message}" + (f" ({error.hint})" if error.hint else "") for each, error in problems
    )
    raise UsageError(
        f"partition '{text}' fits no installed domain ({told})",
        hint="market-spine status shows the partitions there are",
    )
