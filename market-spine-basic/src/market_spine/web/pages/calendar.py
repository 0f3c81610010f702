"""What is expected to be published, day by day; also as a calendar that others subscribe to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

from market_spine.web.pages import Record, Visit
from market_spine.web.reading import Reading


def record(reading: Reading, visit: Visit) -> Record:
    """The next partitions of every domain that has a calendar."""
    count = visit.number("count", 36, most=400)
    ahead = [
        (day, name, partition.key)
        for name, domain in reading.gridded.items()
        for partition in domain.upcoming(reading.today, count)
        if (day := domain.publication_day(partition))
    ]
    return {
        "today": reading.today.isoformat(),
        "count": count,
        "days": [
            {"day": day, "partitions": [{"domain": name, "partition_key": key} for _, name, key in group]}
            for day, group in groupby(sorted(ahead), key=lambda each: each[0])
        ],
        "expected": [{"day": day, "domain": name, "partition_key": key} for day, name, key in sorted(ahead)],
    }


def icalendar(record: Mapping[str, Any], now: datetime) -> bytes:
    """The days as iCalendar (RFC 5545): an event of a whole day for each."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Market Spine//Console//EN", "X-WR-CALNAME:Market Spine"]
    for each in record["days"]:
        day = date.fromisoformat(each["day"])
        keys = [found["partition_key"] for found in each["partitions"]]
        lines += [
            "BEGIN:VEVENT",
            f"UID:{day:%Y%m%d}@market-spine",
            f"DTSTAMP:{now.astimezone(UTC):%Y%m%dT%H%M%SZ}",
            f"DTSTART;VALUE=DATE:{day:%Y%m%d}",
            f"DTEND;VALUE=DATE:{day + timedelta(days=1):%Y%m%d}",
            f"SUMMARY:{len(keys)} partitions expected",
            *_folded("DESCRIPTION:" + "\\n".join(_escaped(key) for key in keys)),
            "TRANSP:TRANSPARENT",
            "END:VEVENT",
        ]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")


def _folded(line: str) -> list[str]:
    """A line in pieces of at most 75 bytes, all but the first begun with a blank; keys are ASCII."""
    pieces = [line[:70]]
    pieces += [" " + line[start : start + 69] for start in range(70, len(line), 69)]
    return pieces
