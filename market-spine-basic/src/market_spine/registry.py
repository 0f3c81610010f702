"""Finds the installed domains. The platform knows them only through the entry point group.

``importlib.metadata`` would find the same, but importing it takes an eighth of a run in which nothing changed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from market_spine.core.domain import Domain
from market_spine.core.partition import Partition
from market_spine.errors import MarketSpineError, UsageError

GROUP = "market_spine.domains"


@cache
def entries() -> dict[str, str]:
    """Short name (``finra``) to ``module:attribute``, in alphabetical order; nothing is imported yet."""
    found: dict[str, str] = {}
    for folder in sys.path:
        for file in Path(folder).glob("*.dist-info/entry_points.txt"):
            found = {**_read_group(file), **found}
    return dict(sorted(found.items()))


def _read_group(file: Path) -> dict[str, str]:
    """The lines ``name = module:attribute`` of our group in a distribution's list of entry points."""
    found: dict[str, str] = {}
    section = ""
    for line in map(str.strip, file.read_text("utf-8").splitlines()):
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
            f"no domain '{short_name}' is installed",
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
    for domain in domains():
        if domain.name == name:
            return domain
    raise UsageError(f"--domain '{name}' is not an installed domain", hint=f"installed domains: {', '.join(entries())}")


def locate(key: str, domain: str | None = None) -> tuple[Domain, Partition]:
    """The domain and partition a key means; the domain is inferred from the key's shape unless named.

    Raises:
        UsageError: no domain, or more than one, takes such a key.
    """
    if domain is not None:
        found = find(domain)
        return found, found.partition(key)
    fits: list[tuple[Domain, Partition]] = []
    problems: list[str] = []
    for candidate in domains():
        try:
            fits.append((candidate, candidate.partition(key)))
        except UsageError as error:
            problems.append(f"{candidate.name}: {error.message}")
    if len(fits) == 1:
        return fits[0]
    if fits:
        names = ", ".join(each.name for each, _ in fits)
        raise UsageError(f"partition '{key}' fits several domains: {names}", hint="name one with --domain")
    raise UsageError(f"partition '{key}' fits no installed domain ({'; '.join(problems)})")
