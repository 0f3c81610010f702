"""Market Spine: revision-aware, restatable loads of market data. The platform, and its Python API.

    import market_spine as ms

    with ms.open() as spine:
        spine.as_of("2025-12-16T00:00:00Z").table("finra_otc_market_week").polars()

docs/python.md shows all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from market_spine.errors import MarketSpineError, StoreError, UsageError
    from market_spine.read.frame import Frame
    from market_spine.read.spine import Spine

__all__ = ["Frame", "MarketSpineError", "Spine", "StoreError", "UsageError", "open"]
__version__ = "0.1.0"

_NAMES = {
    "Frame": "market_spine.read.frame",
    "Spine": "market_spine.read.spine",
    "MarketSpineError": "market_spine.errors",
    "StoreError": "market_spine.errors",
    "UsageError": "market_spine.errors",
}
"""What is imported when it is first asked for: everything else needs this package, too."""


def open(db: str | None = None) -> Spine:  # noqa: A001 - as gzip.open
    """Open a store to read from.

    Args:
        db: path or URL of the database; default: ``DATABASE_URL``, else ``data/market_spine.db``.

    Raises:
        StoreError: there is none, or it cannot be used by this version.
    """
    from market_spine.read.spine import connect

    return connect(db)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_NAMES[name]), name)
