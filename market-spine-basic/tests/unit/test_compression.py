"""Decompression in memory: whole streams only, and never without bound."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.compression import decompress, refuse_expansion
from market_spine.errors import ContentError


def zipped(*contents: bytes, folder: bool = False) -> bytes:
    """An archive of files with these contents."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        if folder:
            archive.writestr("weeks/", "")
            archive.writestr("__MACOSX/._week", "beside")
        for number, content in enumerate(contents):
            archive.writestr(f"week{number}.csv", content)
    return out.getvalue()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress}
SKIPPABLE_FRAME = b"\x50\x2a\x4d\x18\x04\x00\x00\x00note"
both = pytest.mark.parametrize("form", COMPRESSORS)


@both
@given(pieces=st.lists(st.binary(max_size=5000), min_size=1, max_size=4))
def test_streams_of_several_members_read_whole(form: str, pieces: list[bytes]) -> None:
    """Members and frames that follow one another decompress to their contents joined."""
    data = b"".join(COMPRESSORS[form](piece) for piece in pieces)
    assert decompress(data, "x") == b"".join(pieces)


@both
def test_larger_than_a_chunk(form: str) -> None:
    """Streams beyond the size of one working chunk come back exactly."""
    content = bytes(range(256)) * 40_000
    assert decompress(COMPRESSORS[form](content), "x") == content


@pytest.mark.parametrize("data", [b"", b"plain|text", b"\x1f", b"PK"])
def test_anything_else_comes_back_as_it_is(data: bytes) -> None:
    """Data that is neither gzip nor Zstandard nor zip is not touched."""
    assert decompress(data, "x") == data


@both
@given(data=st.data())
def test_a_cut_stream_is_refused(form: str, data: st.DataObject) -> None:
    """Wherever a stream is cut after its first bytes, it is refused as truncated."""
    content = data.draw(st.binary(min_size=1, max_size=3000))
    stream = COMPRESSORS[form](content)
    cut = data.draw(st.integers(4, len(stream) - 1))
    with pytest.raises(ContentError) as caught:
        decompress(stream[:cut], "week.csv.gz")
    assert caught.value.kind == "truncated"
    assert "week.csv.gz" in caught.value.message


@both
@given(data=st.data())
def test_damaged_streams_never_crash(form: str, data: st.DataObject) -> None:
    """A damaged stream is refused with an error of ours, or still decompresses."""
    stream = bytearray(COMPRESSORS[form](b"some content " * 50))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        decompress(bytes(stream), "x")
    except ContentError as error:
        assert error.kind in ("corrupt", "truncated")  # noqa: PT017 - either outcome is right


@both
def test_a_bomb_is_refused(form: str) -> None:
    """A stream that expands beyond the limit is refused, one that just reaches it is not."""
    stream = COMPRESSORS[form](bytes(1_000_000))
    assert len(decompress(stream, "x", limit=1_000_000)) == 1_000_000
    with pytest.raises(ContentError) as caught:
        decompress(stream, "x", limit=999_999)
    assert caught.value.kind == "too_large"


def test_garbage_after_a_gzip_member_is_refused_and_padding_is_not() -> None:
    """Zero padding after a gzip stream is normal, anything else is damage."""
    stream = gzip.compress(b"content")
    assert decompress(stream + bytes(512), "x") == b"content"
    with pytest.raises(ContentError) as caught:
        decompress(stream + b"garbage", "x")
    assert caught.value.kind == "corrupt"


def test_skippable_frames_are_skipped() -> None:
    """Zstandard's skippable frames, which parallel compressors write, hold no content."""
    stream = SKIPPABLE_FRAME + zstandard.compress(b"one") + SKIPPABLE_FRAME + zstandard.compress(b"two")
    assert decompress(stream, "x") == b"onetwo"


def test_an_archive_of_one_file_is_that_file() -> None:
    """Folders and what macOS packs beside a file do not count; none or several files are refused by name."""
    assert decompress(zipped(b"a|b\n", folder=True), "week.zip") == b"a|b\n"
    for archive, told in ((zipped(), "0 files"), (zipped(b"a", b"b"), "week0.csv, week1.csv")):
        with pytest.raises(ContentError) as caught:
            decompress(archive, "week.zip")
        assert caught.value.kind == "archive"
        assert told in caught.value.message


def test_an_archive_that_expands_too_far_is_refused() -> None:
    """Before it is read to its end."""
    with pytest.raises(ContentError) as caught:
        decompress(zipped(bytes(1_000_000)), "week.zip", limit=999_999)
    assert caught.value.kind == "too_large"


@pytest.mark.soak
@given(data=st.data())
def test_a_cut_or_damaged_archive_never_crashes(data: st.DataObject) -> None:
    """It is refused with an error of ours, or still expands."""
    archive = bytearray(zipped(b"some content " * 50))
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(4, len(archive) - 1))
        archive = archive[:cut]
    else:
        archive[data.draw(st.integers(4, len(archive) - 1))] = data.draw(st.integers(0, 255))
    try:
        decompress(bytes(archive), "week.zip")
    except ContentError as error:
        assert error.kind in ("corrupt", "truncated", "archive", "too_large")  # noqa: PT017 - any outcome is right


@pytest.mark.soak
@pytest.mark.parametrize("form", ["gzip", "zstd", "zip"])
def test_a_bomb_is_refused_before_it_is_kept(form: str) -> None:
    """What would expand beyond the limit, a thousandfold, is counted, and no more of it kept than of a real file."""
    bomb = {**COMPRESSORS, "zip": zipped}[form](bytes(400 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ContentError) as caught:
            decompress(bomb, "x", 300 << 20)
        assert tracemalloc.get_traced_memory()[1] < 150 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.kind == "too_large"


@pytest.mark.soak
def test_an_unlikely_file_that_fits_is_read_whole() -> None:
    """A file that expands a thousandfold, and to less than the limit, comes back exactly."""
    content = bytes(70 << 20)
    assert decompress(gzip.compress(content), "x", 71 << 20) == content


@pytest.mark.parametrize("form", ["gzip", "zstd", "zip"])
def test_expansion_can_be_refused_without_keeping_any_of_it(form: str) -> None:
    """The limit of a source holds for what a file expands to, to the byte."""
    data = {**COMPRESSORS, "zip": zipped}[form](b"x" * 1000)
    refuse_expansion(data, "x", 1000)
    with pytest.raises(ContentError, match="more than 999 bytes"):
        refuse_expansion(data, "x", 999)
