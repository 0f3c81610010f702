"""Load daily prices of US stocks: ``python scripts/schedule_prices.py --help``.

The same program as ``market-spine schedule prices``, for cron lines and containers. Exit code: 0 success or
dry run, 1 failure, 2 partial.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path


def main() -> int:
    """Run the scheduler's command line and end with its exit code; return one only where it cannot be imported."""
    gc.set_threshold(50_000)  # nothing of what is imported is ever freed: looking for that takes a tenth of a short run
    try:
        from market_spine.cli.output import leave
        from spine.domains.market_data.cli import main as command
    except ImportError as error:
        sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python leaves it out
        from unimportable import answer  # type: ignore[import-not-found]  # beside this script

        return int(answer(error, "market_data", "daily_prices"))
    return leave(command())


if __name__ == "__main__":
    sys.exit(main())
