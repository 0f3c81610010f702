"""Finding what a text names: a partition, a capture, a run, a symbol, a venue."""

from __future__ import annotations

from typing import Any

from market_spine.app.keys import find_partition
from market_spine.errors import UsageError
from market_spine.web.pages import Record, Visit, subjects
from market_spine.web.reading import Reading

_LISTED = 25


def record(reading: Reading, visit: Visit) -> Record:
    """What the text may mean, exact matches first; one exact match alone is where to go."""
    text = visit.query.get("q", "").strip()[:200]
    exact = _exact(reading, text) if text else []
    return {
        "today": reading.today.isoformat(),
        "q": text,
        "go": exact[0]["path"] if len(exact) == 1 else None,
        "found": exact + [each for each in _near(reading, text) if each not in exact] if text else [],
    }


def _exact(reading: Reading, text: str) -> list[dict[str, Any]]:
    found = []
    if reading.find_run(text) is not None:
        found.append(_item("run", text, ("runs", text)))
    if reading.store.find_capture(text) is not None:
        found.append(_item("capture", text, ("captures", text)))
    for name, domain in reading.gridded.items():
        keys = set(reading.known(domain))
        try:
            partition = find_partition(domain, text, lambda _, keys=keys: keys)  # type: ignore[misc]
        except UsageError:
            continue
        found.append(_item("partition", partition.key, ("d", name, "p", partition.key)))
    return found or [_item(sort, name, (sort, name)) for sort, name in subjects.names(reading, text)]


def _near(reading: Reading, text: str) -> list[dict[str, Any]]:
    """Partitions whose key holds the text, and captures whose id begins with it."""
    lowered = text.casefold()
    keys = [
        _item("partition", key, ("d", name, "p", key))
        for name, domain in reading.gridded.items()
        for key in sorted(reading.known(domain), reverse=True)
        if lowered in key.casefold()
    ]
    captures = [_item("capture", name, ("captures", name)) for name in reading.store.capture_ids(text, _LISTED)]
    return keys[:_LISTED] + captures[:_LISTED]


def _item(what: str, name: str, place: tuple[str, ...]) -> dict[str, Any]:
    return {"what": what, "name": name, "path": list(place)}
