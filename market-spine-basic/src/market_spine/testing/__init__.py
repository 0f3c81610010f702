"""For tests of Market Spine and of domains built on it: real commands, and the suite every domain passes."""

from __future__ import annotations

from market_spine.testing.commands import Finished, run_command
from market_spine.testing.contents import every_row
from market_spine.testing.contract import DomainContract

__all__ = ["DomainContract", "Finished", "every_row", "run_command"]
