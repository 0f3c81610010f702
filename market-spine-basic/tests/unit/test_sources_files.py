"""Folders of files, local and behind fsspec."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from uuid import uuid4

import pytest

from market_spine.errors import SourceError
from market_spine.sources.files import Folder, read_file


@pytest.fixture(params=["path", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """The same three files, of one which lies deeper, in each kind of folder."""
    location = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{uuid4()}"}
    chosen = location[request.param]
    files = {"b.csv": b"\x00\xff\r\n", "a.txt": b"", "deeper/c.csv": b"hidden"}
    if request.param == "memory":
        import fsspec

        for name, content in files.items():
            fsspec.filesystem("memory").pipe_file(f"{chosen.removeprefix('memory:/')}/{name}", content)
    else:
        (tmp_path / "deeper").mkdir()
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
    return Folder(chosen)


def test_names_are_flat_and_sorted(folder: Folder) -> None:
    """Only files of the folder itself are listed, in order."""
    assert folder.names() == ["a.txt", "b.csv"]


def test_read_gives_exact_bytes(folder: Folder) -> None:
    """Bytes come back untouched."""
    assert folder.read("b.csv") == b"\x00\xff\r\n"
    assert folder.read("a.txt") == b""


@pytest.mark.parametrize(("most", "fits"), [(4, True), (3, False)])
def test_a_file_larger_than_is_allowed_is_refused(folder: Folder, most: int, fits: bool) -> None:
    """A file of as many bytes as are allowed is read, one byte more is too large, and the message says how many."""
    allowed = folder._replace(most=most)
    if fits:
        assert len(allowed.read("b.csv")) == 4
        return
    with pytest.raises(SourceError) as caught:
        allowed.read("b.csv")
    assert caught.value.kind == "too_large"
    assert "b.csv" in caught.value.message
    assert "3 bytes" in caught.value.message


def test_no_memory_is_spent_on_a_file_beyond_the_limit(tmp_path: Path) -> None:
    """A file of more than 2 GiB is refused by its size alone."""
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate((2 << 30) + 1)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="2,147,483,648 bytes"):
            Folder(str(tmp_path)).read("huge.csv")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_without_a_size_is_read_up_to_the_limit() -> None:
    """A device that never ends is refused once it has given more than is allowed."""
    with pytest.raises(SourceError) as caught:
        read_file(Path("/dev/zero"), 1 << 20, "/dev/zero")
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize("name", ["deeper/c.csv", "../x", "..", ".", "", "/etc/passwd", "a\\b", "a\0b"])
def test_names_that_leave_the_folder_are_refused(folder: Folder, name: str) -> None:
    """No name reaches below or out of the folder."""
    with pytest.raises(SourceError) as caught:
        folder.read(name)
    assert caught.value.kind == "source_name"


def test_a_missing_file_is_a_source_error(folder: Folder) -> None:
    """A file that vanished since it was listed is reported with its name and folder."""
    with pytest.raises(SourceError) as caught:
        folder.read("gone.csv")
    assert caught.value.kind == "source_missing"
    assert "gone.csv" in caught.value.message
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("form", ["{}/nowhere", "file://{}/nowhere", "memory://no-such-folder"])
def test_a_missing_folder(form: str, tmp_path: Path) -> None:
    """A folder that does not exist is named, with what to do."""
    location = form.format(tmp_path)
    with pytest.raises(SourceError) as caught:
        Folder(location).names()
    assert caught.value.kind == "source_missing"
    assert location in caught.value.message
    assert caught.value.hint


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """A location that is a file is no folder."""
    path = tmp_path / "data.csv"
    path.write_bytes(b"x")
    with pytest.raises(SourceError) as caught:
        Folder(str(path)).names()
    assert caught.value.kind == "source_missing"
    assert "no folder" in caught.value.message


def test_an_unreadable_folder() -> None:
    """A folder that this user may not read is an error of its own kind."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0)
        if user == 0:
            os.seteuid(65534)  # root may read everything
        try:
            with pytest.raises(SourceError) as caught:
                Folder(folder).names()
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o700)
    assert caught.value.kind == "source_denied"


def test_links_to_files_count(tmp_path: Path) -> None:
    """Linked files, as Kubernetes mounts them, are listed; broken links are not."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.csv").write_bytes(b"linked")
    (tmp_path / "x.csv").symlink_to(tmp_path / "real" / "x.csv")
    (tmp_path / "broken.csv").symlink_to(tmp_path / "gone")
    folder = Folder(str(tmp_path))
    assert folder.names() == ["x.csv"]
    assert folder.read("x.csv") == b"linked"


def test_an_unknown_kind_of_address_is_a_source_error() -> None:
    """An address that fsspec does not know is reported, its password kept out of the message."""
    with pytest.raises(SourceError) as caught:
        Folder("nosuch://user:secret@host/folder").names()
    assert caught.value.kind == "source_unavailable"
    assert "nosuch://host/folder" in caught.value.message
    assert "secret" not in caught.value.message


def test_folders_travel_between_processes(folder: Folder) -> None:
    """A folder pickles to an equal folder."""
    assert pickle.loads(pickle.dumps(folder)) == folder


@pytest.mark.process
def test_local_folders_do_not_import_fsspec(tmp_path: Path) -> None:
    """Reading a local folder costs no import of fsspec."""
    code = (
        "import sys; from market_spine.sources.files import Folder, read_file; "
        f"Folder({str(tmp_path)!r}).names(); print('fsspec' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
