"""Chance without state: each number follows from a seed, a name and a key alone, for whole columns at once.

Any week can so be drawn without drawing those before it. The generator is SplitMix64 (Steele, Lea and
Flood, 2014), applied to keys that differ by its own increment.
"""

from __future__ import annotations

from hashlib import sha256
from math import pi
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_INCREMENT = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def uniform(keys: pl.Series, *names: object) -> pl.Series:
    """A number from [0, 1) for each key.

    Args:
        keys: UInt64.
        names: tell this column of numbers from all others; the seed is one of them.
    """
    import polars as pl

    salt = int.from_bytes(sha256("|".join(map(str, names)).encode()).digest()[:8], "little")
    state = pl.col("key") * _unsigned(_INCREMENT) + _unsigned(salt)
    state = (state ^ (state // 2**30)) * _unsigned(_FIRST)
    state = (state ^ (state // 2**27)) * _unsigned(_SECOND)
    state = state ^ (state // 2**31)
    drawn = keys.alias("key").to_frame().select(((state // 2**11).cast(pl.Float64) / 2.0**53).alias("drawn"))
    return drawn["drawn"]


def normal(keys: pl.Series, *names: object) -> pl.Series:
    """A standard normal number for each key, by the method of Box and Muller; arguments as ``uniform``."""
    radius = (-2.0 * (1.0 - uniform(keys, *names, "radius")).log()).sqrt()
    return radius * (2.0 * pi * uniform(keys, *names, "angle")).cos()


def _unsigned(number: int) -> pl.Expr:
    import polars as pl

    return pl.lit(number, dtype=pl.UInt64())
