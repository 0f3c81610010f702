"""The Python API: a store as it is, or as it was known at a moment. ``market_spine.open`` opens one."""
