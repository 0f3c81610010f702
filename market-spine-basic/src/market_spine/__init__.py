"""Market Spine: revision-aware, restatable loads of market data. The platform."""
