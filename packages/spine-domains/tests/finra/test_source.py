"""Which file belongs to which partition, and what happens when that is not clear."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.capture import Absent, Payload
from market_spine.core.manifest import Known
from market_spine.errors import MarketSpineError, SourceError
from spine.domains.finra.otc_transparency.partitions import parse_partition
from spine.domains.finra.otc_transparency.source import FileSource, parse_name

OTC = parse_partition("2025-11-14|OTC")


@pytest.mark.parametrize(
    ("name", "tier", "venue_class", "week", "kind"),
    [
        ("finra_otc_weekly_otc_20251215.csv", "OTC", "ATS", "2025-11-14", "publication"),
        ("finra_otc_weekly_tier1_20251201.txt", "NMS_TIER_1", "ATS", "2025-11-14", "publication"),
        ("finra_otc_weekly_tier1_20250527.psv", "NMS_TIER_1", "ATS", "2025-05-09", "publication"),
        ("finra_otc_weekly_tier2_non_ats_20251215.csv.gz", "NMS_TIER_2", "NON_ATS", "2025-11-14", "publication"),
        ("FINRA_OTC_Weekly_OTC_NON_ATS_20251217.PSV.ZST", "OTC", "NON_ATS", "2025-11-14", "publication"),
        ("nms_tier_1_week_2025-11-10.csv", "NMS_TIER_1", "ATS", "2025-11-14", "week"),
        ("nms_tier_2_week_2025-11-16.psv", "NMS_TIER_2", "ATS", "2025-11-14", "week"),
        ("otc_non_ats_week_2025-11-14.txt.zst", "OTC", "NON_ATS", "2025-11-14", "week"),
    ],
)
def test_names(name: str, tier: str, venue_class: str, week: str, kind: str) -> None:
    """Both forms of file names give tier, venue class and week, in any case and with any extension."""
    file = parse_name(name)
    assert file is not None
    assert (file.tier, file.venue_class, file.week_ending.isoformat(), file.kind) == (
        tier,
        venue_class,
        week,
        kind,
    )


@pytest.mark.parametrize(
    "name",
    [
        "finra_otc_weekly_otc_20251315.csv",
        "finra_otc_weekly_otc_2025121.csv",
        "finra_otc_weekly_otc_00010101.csv",
        "finra_otc_weekly_tier3_20251215.csv",
        "finra_otc_weekly_otc_20251215.xlsx",
        "finra_otc_weekly_otc_20251215.csv.bz2",
        "finra_otc_weekly_otc_20251215 (1).csv",
        "otc_week_2025-11-31.csv",
        "otc_week_20251114.csv",
        "tier1_week_2025-11-14.csv",
        "otc_week_2025-11-14.csv\n",
        "prices.csv",
    ],
)
def test_names_that_say_nothing(name: str) -> None:
    """A name of another form, or with a date that does not exist, belongs to no partition."""
    assert parse_name(name) is None


@given(st.text(max_size=60))
def test_any_name_is_safe(name: str) -> None:
    """No file name whatever makes the reading of names fail."""
    parse_name(name)


def test_fetch_gives_the_exact_bytes(tmp_path: Path) -> None:
    """Files come back byte for byte, compressed or not, one part for each venue class."""
    ats, other = b"\xef\xbb\xbfany\r\nbytes", gzip.compress(b"non-ats")
    (tmp_path / "finra_otc_weekly_otc_20251215.csv").write_bytes(ats)
    (tmp_path / "OTC_non_ats_week_2025-11-12.txt.gz").write_bytes(other)
    payload = FileSource(str(tmp_path)).fetch(OTC, Known(OTC.key))
    assert isinstance(payload, Payload)
    assert [(part.name, part.data, part.origin) for part in payload.parts] == [
        ("ATS", ats, "finra_otc_weekly_otc_20251215.csv"),
        ("NON_ATS", other, "OTC_non_ats_week_2025-11-12.txt.gz"),
    ]
    assert payload.parts[1].metadata == {
        "file": "OTC_non_ats_week_2025-11-12.txt.gz",
        "name_tier": "OTC",
        "name_week": "2025-11-14",
        "name_kind": "week",
    }


def test_fetch_reads_the_bytes_anew(tmp_path: Path) -> None:
    """A file that changed between two fetches comes back changed."""
    path = tmp_path / "otc_week_2025-11-14.csv"
    path.write_bytes(b"first")
    source = FileSource(str(tmp_path))
    source.fetch(OTC, Known(OTC.key))
    path.write_bytes(b"second")
    payload = source.fetch(OTC, Known(OTC.key))
    assert isinstance(payload, Payload)
    assert payload.parts[0].data == b"second"


def test_absent(tmp_path: Path) -> None:
    """A partition without a file is absent; the answer names the files looked for, the folder, and what lies there
    unrecognised."""
    for name in ("download.zip", "otc.xlsx", "readme.md"):
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / "otc_week_2025-11-21.csv").write_bytes(b"another week")
    absent = FileSource(str(tmp_path)).fetch(OTC, Known(OTC.key))
    assert isinstance(absent, Absent)
    assert "no finra_otc_weekly_otc_20251215.csv or otc_week_2025-11-14.csv" in absent.message
    assert absent.message.endswith("download.zip, otc.xlsx")
    assert str(tmp_path) in absent.message


def test_two_different_files_are_ambiguous(tmp_path: Path) -> None:
    """Two files of different content for one partition and class fail, both named; other classes do not."""
    (tmp_path / "finra_otc_weekly_otc_20251215.csv").write_bytes(b"one")
    (tmp_path / "otc_week_2025-11-14.csv").write_bytes(b"two")
    (tmp_path / "otc_non_ats_week_2025-11-14.csv").write_bytes(b"three")
    with pytest.raises(SourceError) as caught:
        FileSource(str(tmp_path)).fetch(OTC, Known(OTC.key))
    assert caught.value.kind == "ambiguous_source"
    assert "finra_otc_weekly_otc_20251215.csv and otc_week_2025-11-14.csv" in caught.value.message


def test_copies_of_the_same_content_are_not_ambiguous(tmp_path: Path) -> None:
    """Several files with the same content after decompression count as one: the first by name."""
    (tmp_path / "finra_otc_weekly_otc_20251215.csv.gz").write_bytes(gzip.compress(b"same"))
    (tmp_path / "otc_week_2025-11-13.csv.zst").write_bytes(zstandard.compress(b"same"))
    (tmp_path / "otc_week_2025-11-14.csv").write_bytes(b"same")
    payload = FileSource(str(tmp_path)).fetch(OTC, Known(OTC.key))
    assert isinstance(payload, Payload)
    assert [part.origin for part in payload.parts] == ["finra_otc_weekly_otc_20251215.csv.gz"]


def test_a_damaged_copy_is_ambiguous(tmp_path: Path) -> None:
    """A copy that cannot be decompressed is not the same content."""
    (tmp_path / "otc_week_2025-11-14.csv").write_bytes(b"same")
    (tmp_path / "otc_week_2025-11-14.csv.gz").write_bytes(gzip.compress(b"same")[:-3])
    with pytest.raises(SourceError) as caught:
        FileSource(str(tmp_path)).fetch(OTC, Known(OTC.key))
    assert caught.value.kind == "ambiguous_source"


def test_unrecognised_files(tmp_path: Path) -> None:
    """Data files whose names say nothing are listed; other files and folders are not."""
    for name in ("week46.csv", "Extra.TXT.gz", "README.md", "notes", "otc_week_2025-11-14.csv"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.csv").mkdir()
    assert FileSource(str(tmp_path)).unrecognised() == ["Extra.TXT.gz", "week46.csv"]


def test_a_missing_folder_names_the_ways_to_another(tmp_path: Path) -> None:
    """A data folder that does not exist is an error that names it, the ways to another one and the way without."""
    with pytest.raises(SourceError) as caught:
        FileSource(str(tmp_path / "nowhere")).fetch(OTC, Known(OTC.key))
    assert caught.value.kind == "source_missing"
    assert str(tmp_path / "nowhere") in caught.value.message
    assert "--data-dir" in caught.value.hint
    assert "FINRA_DATA_DIR" in caught.value.hint
    assert "FINRA_SOURCE=api" in caught.value.hint


def test_the_source_is_picklable(tmp_path: Path) -> None:
    """A source that has listed its folder travels to another process and fetches the same."""
    (tmp_path / "otc_week_2025-11-14.csv").write_bytes(b"data")
    source = FileSource(str(tmp_path))
    fetched = source.fetch(OTC, Known(OTC.key))
    assert pickle.loads(pickle.dumps(source)).fetch(OTC, Known(OTC.key)) == fetched


@pytest.mark.samples
def test_the_real_folder(finra_samples: Path) -> None:
    """The real downloads, named by publication date, are found under their trading weeks."""
    source = FileSource(str(finra_samples / "pipe"))
    for key, name in (
        ("2025-11-14|OTC", "finra_otc_weekly_otc_20251215.csv"),
        ("2025-11-21|OTC", "finra_otc_weekly_otc_20251222.csv"),
    ):
        payload = source.fetch(parse_partition(key), Known(key))
        assert isinstance(payload, Payload)
        assert [part.origin for part in payload.parts] == [name]
        assert payload.parts[0].data == (finra_samples / "pipe" / name).read_bytes()
    assert source.unrecognised() == []


@pytest.mark.process
def test_looking_for_files_imports_no_frames() -> None:
    """The domain, its plan and its file source are light: Polars comes in only when a file is parsed."""
    code = (
        "import sys; from spine.domains.finra.otc_transparency import DOMAIN, partitions, source; "
        "print(sorted({'polars', 'fsspec', 'zstandard'} & sys.modules.keys()))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("packed", [False, True])
def test_a_source_can_be_set_to_smaller_files(tmp_path: Path, packed: bool) -> None:
    """The limit of the folder holds for the file as it is and for what it expands to."""
    content = b"x" * 1000
    name = "otc_week_2025-11-14.csv" + (".gz" if packed else "")
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    assert isinstance(FileSource(str(tmp_path), 1000).fetch(OTC, Known(OTC.key)), Payload)
    with pytest.raises(MarketSpineError) as caught:
        FileSource(str(tmp_path), 999).fetch(OTC, Known(OTC.key))
    assert (caught.value.kind, name in caught.value.message) == ("too_large", True)
