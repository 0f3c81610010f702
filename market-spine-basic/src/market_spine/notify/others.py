"""Sending through Apprise, the extra ``notify``."""

from __future__ import annotations

import logging

from market_spine.errors import MarketSpineError, UsageError
from market_spine.notify.message import Message


def send(url: str, message: Message) -> None:
    """Send a message to one Apprise address.

    Raises:
        MarketSpineError: kind ``missing_extra`` without Apprise; kind ``unreachable`` where it did not arrive.
        UsageError: the address is none that Apprise knows.
    """
    # It logs on its own, with addresses in it; it must not speak through Python's handler of last resort.
    quiet = logging.getLogger("apprise")
    quiet.handlers[:], quiet.propagate = [logging.NullHandler()], False
    try:
        import apprise
    except ImportError as error:
        raise MarketSpineError(
            "ALERT_APPRISE_URLS needs Apprise, which is not installed",
            hint="pip install 'market-spine-basic[notify]'",
            kind="missing_extra",
        ) from error
    service = apprise.Apprise()
    try:
        if not service.add(url):
            raise UsageError("ALERT_APPRISE_URLS: an address is none that Apprise knows")
        arrived = service.notify(title=message.title, body=message.body or message.title)
    except (MarketSpineError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - what a hundred services' parts raise may hold the address
        raise MarketSpineError(f"Apprise failed with {type(error).__name__}", kind="unreachable") from None
    if not arrived:
        raise MarketSpineError("the service did not take the message", hint="try the address", kind="unreachable")
