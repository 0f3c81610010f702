"""Market Spine: revision-aware, restatable loads of market data. The platform."""

__version__ = "0.1.0"
