"""What ``market-spine doctor`` says of the price source and its key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from market_spine.core.checking import CheckResult, checked
from market_spine.errors import UsageError
from market_spine.settings import variable
from market_spine.sources.answers import Answer
from spine.domains.market_data import vendors
from spine.domains.market_data.scheduler import SOURCE_VARIABLE, choose_source, key_of
from spine.domains.market_data.vendors import Vendor

SECONDS = 20.0
"""How long a vendor may take to answer."""


def checkup(*, online: bool) -> Iterator[CheckResult]:
    """The source in effect, and which keys are set.

    Args:
        online: also ask the vendor, without a key, which no quota counts.
    """
    source = checked("prices source", lambda: choose_source(None, dry=False)[0])
    if source.ok or variable(SOURCE_VARIABLE, ""):
        yield source
    else:
        yield CheckResult("prices source", True, f"none is chosen, so none is loaded; {source.hint}")
    known = [vendors.load(name) for name in vendors.names()]
    yield checked("prices keys", lambda: _keys([cast("Vendor", each) for each in known if not each.offline]))
    if online and source.ok and not vendors.load(source.message).offline:
        vendor = cast("Vendor", vendors.load(source.message))
        yield checked(f"prices {vendor.name}", lambda: _reach(vendor))


def _keys(known: list[Vendor]) -> str:
    return "; ".join(f"{each.name}: {'set' if key_of(each) else 'not set'}" for each in known)


def _reach(vendor: Vendor) -> str:
    from market_spine.sources.http import HttpClient, Policy
    from market_spine.sources.limits import Deadline

    if not key_of(vendor):
        raise UsageError(f"{vendor.name} needs a key", hint=f"set {' or '.join(vendor.key_variables)}")
    client = HttpClient(policy=Policy(attempts=2, timeout=SECONDS, total=SECONDS))
    url = variable(vendor.url_variable, vendor.url)

    def unchecked(answer: Answer) -> None:
        """Any answer says that somebody is there."""

    try:
        status = client.request(
            "GET", url, read=lambda answer: answer.status, check=unchecked, deadline=Deadline(SECONDS)
        )
    finally:
        client.close()
    return f"{client.shown(url)} answers (status {status} to a question without a key)"
