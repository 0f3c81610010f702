"""``python -m market_spine``: the ``market-spine`` command."""

from market_spine.cli.main import main

main()
