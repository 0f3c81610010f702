"""FINRA's weekly files in a folder: which file belongs to which partition, told by its name alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import NamedTuple

from market_spine.core.capture import Absent, Part, Payload
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from market_spine.core.sizes import MAX_BYTES, MAX_FILE_BYTES
from market_spine.errors import ContentError, SourceError
from market_spine.sources.files import Folder
from spine.domains.finra.otc_transparency import partitions
from spine.domains.finra.otc_transparency.schema import ATS, NON_ATS, VENUE_CLASSES

_EXTENSION = r"(?:\.(?:csv|txt|psv)(?:\.gz|\.zst|\.zip)?|\.zip)"
_DATA = rf"(?is).*(?:{_EXTENSION}|\.xlsx?|\.ods)"
_SHOWN = 10
"""How many files a message names."""
_PUBLICATION = re.compile(
    rf"finra_otc_weekly_(?P<tier>tier1|tier2|otc)(?P<non>_non_ats)?_(?P<day>[0-9]{{8}}){_EXTENSION}",
    re.IGNORECASE,
)
_WEEK = (
    r"(?i)(?P<tier>nms_tier_1|nms_tier_2|otc)(?P<non>_non_ats)?_week_(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})" + _EXTENSION
)
_TIER_WORDS = {"NMS_TIER_1": "tier1", "NMS_TIER_2": "tier2", "OTC": "otc"}


class WeeklyFile(NamedTuple):
    """What the name of a weekly file says.

    Attributes:
        name: the file's name.
        tier: NMS_TIER_1, NMS_TIER_2 or OTC.
        venue_class: ATS or NON_ATS.
        week_ending: Friday of the trading week.
        kind: ``week`` if the name gives a day of that week, ``publication`` if it gives the day on which
            FINRA published it.
    """

    name: str
    tier: str
    venue_class: str
    week_ending: date
    kind: str

    @property
    def metadata(self) -> dict[str, str]:
        """The same as part metadata: ``file``, ``name_tier``, ``name_week``, ``name_kind``."""
        return {
            "file": self.name,
            "name_tier": self.tier,
            "name_week": self.week_ending.isoformat(),
            "name_kind": self.kind,
        }


def parse_name(name: str) -> WeeklyFile | None:
    """Read a file name of either form, in any case; None if it is neither or its date does not exist.

    ``finra_otc_weekly_{tier1,tier2,otc}[_non_ats]_YYYYMMDD.EXT`` gives the publication date,
    ``{nms_tier_1,nms_tier_2,otc}[_non_ats]_week_YYYY-MM-DD.EXT`` any day of the week; ``EXT`` is csv, txt
    or psv, optionally followed by ``.gz``, ``.zst`` or ``.zip``, or zip alone.
    """
    by_day = _PUBLICATION.fullmatch(name)
    match = by_day or re.fullmatch(_WEEK, name)
    if match is None:
        return None
    tier = partitions.parse_tier(match["tier"])
    try:
        day = date.fromisoformat(match["day"])
        week_ending = partitions.week_of_publication(day, tier) if by_day else partitions.week_ending_of(day)
    except (ValueError, OverflowError):
        return None
    venue_class = NON_ATS if match["non"] else ATS
    return WeeklyFile(name, tier, venue_class, week_ending, "publication" if by_day else "week")


class FileSource:
    """Fetches partitions from a folder of FINRA's weekly files; a Source.

    The folder is listed once per instance; the bytes are read at every fetch.

    Attributes:
        data_dir: a local path or an fsspec URL.
        most: how large a file may be, packed and unpacked, in bytes.
    """

    def __init__(self, data_dir: str, most: int = MAX_FILE_BYTES) -> None:
        self.data_dir = data_dir
        self.most = most

    def fetch(self, partition: Partition, known: Known) -> Payload | Absent:
        """The partition's files, byte for byte, as parts ``ATS`` and ``NON_ATS``.

        Raises:
            SourceError: kind ``ambiguous_source`` if two files of different content claim the same
                partition and venue class; else as ``Folder`` raises it.
        """
        parts = tuple(
            self._fetch_part(candidates)
            for venue_class in VENUE_CLASSES
            if (candidates := self._files.get((partition.key, venue_class)))
        )
        if parts:
            return Payload(parts)
        week_ending, tier = partitions.week_and_tier(partition)
        published = partitions.publication_date(week_ending, tier)
        word = _TIER_WORDS[tier]
        sought = f"finra_otc_weekly_{word}_{published:%Y%m%d}.csv or {tier.lower()}_week_{week_ending}.csv"
        unknown = self.unrecognised()
        left_out = f"; files there whose names say no tier and week: {_listed(unknown)}" if unknown else ""
        return Absent(f"no {sought} in {Folder(self.data_dir).shown}{left_out}")

    @property
    def location(self) -> str:
        """The folder."""
        return self.data_dir

    def available(self) -> list[Partition]:
        """Every partition that the folder has a file of, oldest week first."""
        return partitions.in_order(partitions.parse_partition(key) for key, _ in self._files)

    def unrecognised(self) -> list[str]:
        """Names of files that look like data (csv, txt, psv, archives, spreadsheets) but do not say which partition
        they are."""
        return [name for name, file in self._named.items() if file is None and re.fullmatch(_DATA, name)]

    @cached_property
    def _named(self) -> Mapping[str, WeeklyFile | None]:
        """What the name of each file of the folder says."""
        try:
            return {name: parse_name(name) for name in Folder(self.data_dir).names()}
        except SourceError as error:
            if error.kind != "source_missing":
                raise
            raise SourceError(
                f"data folder {error.message}",
                kind=error.kind,
                hint="put FINRA's weekly files there, name another folder with --data-dir or FINRA_DATA_DIR, or ask"
                " FINRA itself with --source api or FINRA_SOURCE=api",
            ) from error

    @cached_property
    def _files(self) -> Mapping[tuple[str, str], list[WeeklyFile]]:
        found: defaultdict[tuple[str, str], list[WeeklyFile]] = defaultdict(list)
        for file in self._named.values():
            if file is not None:
                key = partitions.make_partition(file.week_ending, file.tier).key
                found[key, file.venue_class].append(file)
        return dict(found)

    def _fetch_part(self, candidates: list[WeeklyFile]) -> Part:
        folder = Folder(self.data_dir, self.most)
        first = candidates[0]
        data = folder.read(first.name)
        if self.most < MAX_BYTES:
            from market_spine.core.compression import refuse_expansion

            refuse_expansion(data, first.name, self.most)
        for other in candidates[1:]:
            if not _same_content(data, folder.read(other.name)):
                raise SourceError(
                    f"{first.name} and {other.name} differ, and both claim the {first.venue_class} rows of "
                    f"{first.tier}, week ending {first.week_ending}",
                    kind="ambiguous_source",
                    hint="keep the right one and move the other out of the folder",
                )
        return Part(first.venue_class, data, first.name, first.metadata)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _same_content(one: bytes, other: bytes) -> bool:
    if one == other:
        return True
    from market_spine.core.compression import decompress

    try:
        return decompress(one, "") == decompress(other, "")
    except ContentError:
        return False
