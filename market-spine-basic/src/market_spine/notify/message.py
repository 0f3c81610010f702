"""One message: what happened to a domain's anomalies, as a document for programs and as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from market_spine.notify.due import Episode, Item

VERSION = 1
"""Stays as it is while changes of the document are additions."""
SHOWN = 20
"""Episodes that a text tells; the document has all."""
_WORDS = {"opened": "NEW", "worsened": "WORSE", "reminded": "STILL", "resolved": "RESOLVED"}


@dataclass(frozen=True, slots=True)
class Message:
    """What one sink is told.

    Attributes:
        domain: whose it is.
        items: what happened, the gravest first.
        run: the run that brought it, as its result has it; None outside of one.
        note: what else is to be said.
    """

    domain: str
    items: Sequence[Item]
    run: Mapping[str, Any] | None = None
    note: str = ""

    @property
    def title(self) -> str:
        """One line: ``finra.otc_transparency: 2 new, 1 resolved``."""
        if not self.items:
            return f"{self.domain}: {self.note}"
        events = [item.event for item in self.items]
        counts = ", ".join(f"{events.count(each)} {word.lower()}" for each, word in _WORDS.items() if each in events)
        return f"{self.domain}: {counts}"

    @property
    def body(self) -> str:
        """A line for each episode, then the run."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for event, each in self.items[:SHOWN]:
            hint = f" ({each.hint})" if each.hint and event != "resolved" else ""
            seen = f", seen {each.seen} times" if each.seen > 1 else ""
            # Messages often begin with what they are about.
            told = each.message.startswith(each.partition_key)
            subject = "" if told else f" {each.partition_key}"
            yield f"{_WORDS[event]} {each.severity} {each.kind}{subject}: {each.message}{hint}{seen}"
        if (more := len(self.items) - SHOWN) > 0:
            yield f"... and {more} more: market-spine anomalies"
        if self.note and self.items:
            yield self.note
        if self.run is not None:
            stats = self.run["stats"]
            yield (
                f"run {self.run.get('run_id') or 'without id'} of {self.run['scheduler']}: {self.run['status']}, "
                + ", ".join(f"{stats[name]} {name}" for name in ("attempted", "succeeded", "failed", "skipped"))
            )

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "version": VERSION,
            "domain": self.domain,
            "title": self.title,
            "text": self.body,
            "events": [{"event": event, **_plain(each)} for event, each in self.items],
            "run": None
            if self.run is None
            else {
                name: self.run.get(name)
                for name in ("run_id", "scheduler", "status", "started_at", "finished_at", "stats")
            },
        }


def _plain(each: Episode) -> dict[str, Any]:
    return {
        "id": each.id,
        "domain": each.domain,
        "partition_key": each.partition_key,
        "kind": each.kind,
        "severity": each.severity,
        "message": each.message,
        "hint": each.hint,
        "first_seen": each.first_seen.isoformat(),
        "last_seen": each.last_seen.isoformat(),
        "count": each.seen,
    }
