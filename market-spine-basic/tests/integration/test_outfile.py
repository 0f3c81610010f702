"""``--out``: a file that appears whole or not at all, and replaces another only if told to."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from market_spine.cli.outfile import save
from market_spine.errors import StoreUnavailable, UsageError

if TYPE_CHECKING:
    from tests.integration.conftest import Home

CAPTURE = "harbor:2025-03-01:20250302"
BYTES = b"ada 10\nbela 120\n"


def hello(file: IO[bytes]) -> None:
    """Write something."""
    file.write(b"hello")


def test_a_file_that_is_there_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    """Without --overwrite the file is as it was and the complaint names both ways out; with it, it is replaced."""
    out = tmp_path / "out"
    out.write_bytes(b"old")
    with pytest.raises(UsageError) as caught:
        save(out, hello, overwrite=False)
    assert (out.read_bytes(), "--overwrite" in caught.value.hint) == (b"old", True)
    save(out, hello, overwrite=True)
    assert out.read_bytes() == b"hello"
    assert [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_fails_in_the_middle_leaves_nothing(tmp_path: Path, overwrite: bool) -> None:
    """If writing fails, neither a partial file nor a changed one is left."""
    out = tmp_path / "out"
    if overwrite:
        out.write_bytes(b"old")

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreUnavailable) as caught:
        save(out, fail, overwrite=overwrite)
    assert (caught.value.kind, "No space left" in caught.value.message) == ("output", True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({"out": b"old"} if overwrite else {})


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    """Overwriting a link writes what it leads to, and the link stays; else it is a file that is there."""
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError):
        save(tmp_path / "link", hello, overwrite=False)
    save(tmp_path / "link", hello, overwrite=True)
    assert (tmp_path / "real").read_bytes() == b"hello"
    assert (tmp_path / "link").is_symlink()


def test_a_device_is_written_to(tmp_path: Path) -> None:
    """/dev/null is no file to be replaced."""
    save(Path("/dev/null"), hello, overwrite=False)
    assert Path("/dev/null").is_char_device()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The complaint has the whole path and says what to do."""
    with pytest.raises(StoreUnavailable, match="nowhere/out") as caught:
        save(tmp_path / "nowhere/out", hello, overwrite=False)
    assert caught.value.hint


@pytest.mark.process
def test_payload_goes_to_stdout_byte_for_byte(loaded: Home) -> None:
    """--out - writes the payload and nothing else, to a pipe; to a terminal it does not."""
    process = loaded.popen("payload", CAPTURE, "--out", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.communicate() == (BYTES, b"")
    assert process.returncode == 0
    shown = loaded.terminal("payload", CAPTURE, "--out", "-", code=1)
    assert "redirect stdout" in shown
    assert "bela" not in shown


@pytest.mark.process
def test_every_command_with_out_refuses_a_file_that_is_there(loaded: Home) -> None:
    """Payload and the plan of a dry run leave a file alone, and replace it with --overwrite."""
    run = ("schedule", "harbor", "--days", "2025-03-01", "--data-dir", "in", "--mode", "dry-run")
    commands = (
        ("payload", CAPTURE),
        run,
    )
    for number, command in enumerate(commands):
        out = loaded.path / f"out{number}"
        out.write_bytes(b"old")
        refused = loaded(*command, "--out", out)
        assert (refused.code, "--overwrite" in refused.stderr, out.read_bytes()) == (1, True, b"old"), command
        done = loaded(*command, "--out", out, "--overwrite")
        assert done.code == 0, done.stderr
        assert out.read_bytes() not in (b"old", b"")
    assert not [*loaded.path.glob("*partial*")]


@pytest.mark.process
def test_a_plan_is_not_written_to_stdout(loaded: Home) -> None:
    """Stdout has the result of a dry run: --out - is refused."""
    run = ("schedule", "harbor", "--mode", "dry-run", "--days", "2025-03-01", "--data-dir", "in")
    done = loaded(*run, "--out", "-")
    assert (done.code, done.stdout) == (1, "")
    assert "name a file" in done.stderr
