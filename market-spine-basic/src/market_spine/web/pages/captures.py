"""One capture: what it holds, where it came from, which rows were refused, and its parts to save."""

from __future__ import annotations

from market_spine.web.pages import PageMissing, Record, Visit
from market_spine.web.pages.partition import capture_document
from market_spine.web.reading import Reading

_REJECTS = 200


def record(reading: Reading, visit: Visit) -> Record:
    """The capture that the address names."""
    name = visit.place["capture_id"]
    committed = reading.store.find_capture(name)
    if committed is None:
        raise PageMissing(f"there is no capture {name[:120]!r}", hint="the page of a partition lists its captures")
    partition = committed.entry.partition
    short = reading.short(partition.domain)
    if short not in reading.gridded:
        raise PageMissing(f"the domain of capture {name[:120]!r} is not installed")
    states = reading.captures(reading.gridded[short], partition)
    state = next(each for each in states if each.committed.entry.capture_id == name)
    return {
        "today": reading.today.isoformat(),
        "domain": short,
        "partition_key": partition.key,
        "capture": capture_document(state),
        "rejects": [each._asdict() for each in reading.store.rejects(name, _REJECTS)],
        "most_rejects": _REJECTS,
        "metadata": {part.name: dict(part.metadata) for part in committed.entry.parts if part.metadata},
    }
