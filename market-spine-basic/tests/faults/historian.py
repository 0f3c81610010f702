"""Carry out steps of a history, one JSON line each, until this process kills itself at a point of its work.

    python historian.py POINT DATABASE

A step is answered by a line with what its result says and the clock's moment after it. Points are those of
``killer.py``; the tiny domain and that module are found through PYTHONPATH.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from random import Random

import killer  # type: ignore[import-not-found]
from ledger import DOMAIN
from ledger.book import Book, Step

from market_spine.store import parse_url


def main() -> None:
    """Plant the points and do what comes in."""
    book = Book(parse_url(sys.argv[2]), DOMAIN, Random(0))
    killer.plant(int(sys.argv[1]), Path(os.devnull))
    for line in sys.stdin:
        asked = json.loads(line)
        book.now, book.names = datetime.fromisoformat(asked["now"]), asked["names"]
        told = book.carry_out(Step(**asked["step"]))
        sys.stdout.write(json.dumps({"told": told, "now": book.now.isoformat()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
