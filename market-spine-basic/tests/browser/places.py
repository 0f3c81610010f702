"""Where the tests look: an address for each kind of page, chosen by what the commands say of the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from .conftest import Shop


def of_state(state: str, shop: Shop) -> str:
    """The page of the newest partition in a state."""
    return f"/d/finra/p/{quote(shop.keys(state)[0])}"


def of_capture(state: str, shop: Shop) -> str:
    """The page of the newest capture of the newest partition in a state."""
    return f"/captures/{quote(shop.captures(shop.keys(state)[0])[-1]['capture_id'])}"


def of_run(status: str, shop: Shop) -> str:
    """The page of the newest run that ended so."""
    return next(
        f"/runs/{quote(each['run_id'])}"
        for each in json.loads(shop.run("runs", "--json", "--limit", "200"))
        if each["status"] == status
    )


def then(path: str, shop: Shop) -> str:
    """A page as of the moment when the newest restated partition was first captured."""
    return f"{path}?as_of={quote(shop.captures(shop.keys('revised')[0])[0]['capture_id'])}"


def of_symbol(shop: Shop) -> str:
    """The page of a symbol that has prices and volumes."""
    return f"/symbols/{quote(shop.keys('captured', 'market_data')[0].partition('|')[0])}"


def of_venue(shop: Shop) -> str:
    """The page of the venue with most shares."""
    sql = "SELECT venue_id FROM finra_otc_venue_volume GROUP BY 1 ORDER BY SUM(share_volume) DESC LIMIT 1"
    return f"/venues/{quote(shop.run('query', sql, '--format', 'csv').split()[-1])}"


def fixed(path: str, _shop: Shop) -> str:
    """A page that every store has."""
    return path


PLACES: dict[str, Callable[[Shop], str]] = {
    "overview": partial(fixed, "/"),
    "overview then": partial(then, "/"),
    "grid": partial(fixed, "/d/finra/partitions"),
    "grid of a year": partial(fixed, "/d/finra/partitions?range=1y"),
    "grid of some states": partial(fixed, "/d/finra/partitions?range=all&state=late,held"),
    "grid then": partial(then, "/d/finra/partitions"),
    "strips": partial(fixed, "/d/prices/partitions"),
    **{state: partial(of_state, state) for state in ("late", "failed", "held", "revised", "warned", "captured")},
    "not due": partial(of_state, "not_due"),
    "series": lambda shop: f"/d/prices/p/{quote(shop.keys('captured', 'market_data')[0])}",
    "capture": partial(of_capture, "revised"),
    "capture with refused rows": partial(of_capture, "warned"),
    "runs": partial(fixed, "/runs"),
    "runs of one domain": partial(fixed, "/runs?domain=prices&limit=1"),
    "run": partial(of_run, "success"),
    "run that failed in part": partial(of_run, "partial"),
    "symbols": partial(fixed, "/symbols"),
    "symbol": of_symbol,
    "symbol then": lambda shop: then(of_symbol(shop), shop),
    "venues": partial(fixed, "/venues"),
    "venue": of_venue,
    "anomalies": partial(fixed, "/anomalies"),
    "all anomalies": partial(fixed, "/anomalies?state=all"),
    "changes": partial(fixed, "/changes?since=2000-01-01"),
    "calendar": partial(fixed, "/calendar"),
    "search": partial(fixed, "/search"),
    "search that finds": partial(fixed, "/search?q=OTC"),
    "SQL": partial(fixed, "/query"),
    "SQL answered": partial(fixed, "/query?sql=SELECT+partition_key,+stage,+row_count+FROM+core_manifest+LIMIT+20"),
    "SQL refused": partial(fixed, "/query?sql=SELECT"),
}
