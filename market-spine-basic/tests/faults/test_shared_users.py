"""One SQLite database, several users: whatever readers do, the owner goes on writing, and they read what is there.

Needs root, to act as other users; skipped where the tests do not run as root.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Others

OWNER, READER, GROUP = 65101, 65102, 65110
"""Two users, each with a group of the same number, and a group that both may be in."""

USER = Path(__file__).parent / "user.py"


class User:
    """A process of a user, which does what ``user.py`` says."""

    def __init__(
        self, others: Others, db: Path, uid: int, groups: Sequence[int], umask: int = 0o022, prefix: Sequence[str] = ()
    ) -> None:
        self._process = subprocess.Popen(
            [*prefix, others.python, str(USER), str(db), f"{umask:o}"],
            **others.how(uid, groups),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def do(self, *words: Any) -> Any:
        """Have something done; gives the answer."""
        self.ask(*words)
        return self.answer()

    def ask(self, *words: Any) -> None:
        """Have something begun."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """What came of it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(self._process.communicate()[1])
        return json.loads(line)

    def close(self) -> None:
        """End it, without a chance to tidy up."""
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True)
class Layout:
    """How folder and database are shared.

    Attributes:
        folder: the folder's owner, group and mode.
        groups: the groups that the owner, and the reader, are in besides their own.
        database: the database's group and mode, where somebody changed them after it was made.
        reader: the reader's user.
        makes: whether the reader makes side files where there are none.
        prefix: what the reader is run by.
    """

    folder: tuple[int, int, int]
    groups: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    database: tuple[int, int] | None = None
    reader: int = READER
    makes: bool = False
    prefix: tuple[str, ...] = ()


LAYOUTS = {
    "anybody's folder": Layout((0, 0, 0o777)),
    "anybody's folder, sticky": Layout((0, 0, 0o1777), ((GROUP,), (GROUP,)), (GROUP, 0o664)),
    "the group's folder, handed on": Layout((OWNER, GROUP, 0o2775), ((GROUP,), (GROUP,)), makes=True),
    "the group's folder": Layout((OWNER, GROUP, 0o775), ((GROUP,), (GROUP,))),
    "the group's database": Layout((0, 0, 0o777), ((GROUP,), (GROUP,)), (GROUP, 0o664), makes=True),
    "the group's database to read": Layout((0, 0, 0o777), ((GROUP,), (GROUP,)), (GROUP, 0o640)),
    "anybody's database": Layout((0, 0, 0o777), database=(OWNER, 0o666), makes=True),
    "the owner's folder": Layout((OWNER, OWNER, 0o755)),
    "a folder that nobody may write": Layout((0, 0, 0o755), database=(OWNER, 0o644)),
    "root reads": Layout((OWNER, OWNER, 0o755), reader=0, makes=True),
    "root reads what it cannot give away": Layout(
        (OWNER, OWNER, 0o755), reader=0, prefix=("setpriv", "--bounding-set=-chown")
    ),
}


class Shared:
    """A database in a layout, and its users' processes."""

    def __init__(self, others: Others, place: Path, layout: Layout, stack: ExitStack) -> None:
        self._others, self._layout, self._stack = others, layout, stack
        self.folder = place / "shared"
        self.folder.mkdir()
        self.db = self.folder / "store.db"
        uid, gid, mode = layout.folder
        os.chown(self.folder, uid if uid else OWNER, gid)
        self.folder.chmod(mode | 0o700)
        self.owner = self._user(OWNER, layout.groups[0])
        assert self.owner.do("write") == "written"
        if layout.database is not None:
            os.chown(self.db, OWNER, layout.database[0])
            self.db.chmod(layout.database[1])
        os.chown(self.folder, uid, gid)
        self.folder.chmod(mode)
        self.reader = self._user(layout.reader, layout.groups[1], layout.prefix)

    def _user(self, uid: int, groups: Sequence[int], prefix: Sequence[str] = ()) -> User:
        return self._stack.enter_context(closing(User(self._others, self.db, uid, groups, prefix=prefix)))

    def another_reader(self) -> User:
        """One more process of the reader."""
        return self._user(self._layout.reader, self._layout.groups[1], self._layout.prefix)

    @property
    def files(self) -> list[str]:
        """What is in the folder."""
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def share(others: Others, place: Path) -> Iterator[Callable[[str], Shared]]:
    """Make a database in a layout."""
    with ExitStack() as stack:
        yield lambda name: Shared(others, place, LAYOUTS[name], stack)


READ_ONLY = "a folder that nobody may write"
WRITABLE = [name for name in LAYOUTS if name != READ_ONLY]
ALONE = ["store.db"]
BOTH = ["store.db", "store.db-shm", "store.db-wal"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_reader_sees_everything(share: Callable[[str], Shared], name: str) -> None:
    """Another user reads, queries and queries as of now; side files are made only where the owner can write them."""
    shared = share(name)
    assert shared.files == ALONE
    assert shared.reader.do("hold") == [1, 1, 1]
    assert shared.files == (BOTH if LAYOUTS[name].makes else ALONE)
    assert shared.reader.do("close") == "closed"


@pytest.mark.parametrize("name", WRITABLE)
def test_the_owner_goes_on_writing(share: Callable[[str], Shared], name: str) -> None:
    """With a reader open, after it closed and after it was killed the owner's next write succeeds, and readers that
    stay open see it."""
    shared = share(name)
    reader = shared.reader
    assert reader.do("hold") == [1, 1, 1]
    assert shared.owner.do("write") == "written"
    assert reader.do("look") == [2, 2, 2]
    assert shared.owner.do("open") == "written"
    assert reader.do("look") == [3, 3, 3]
    assert shared.owner.do("close") == "closed"
    assert reader.do("look") == [3, 3, 3]
    assert reader.do("close") == "closed"
    assert shared.owner.do("write") == "written"
    assert reader.do("hold") == [4, 4, 4]
    reader.close()
    assert shared.owner.do("write") == "written"
    assert shared.another_reader().do("read") == [5, 5, 5]


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        *((name, "nobody") for name in WRITABLE),
        *((name, "the owner") for name in ("anybody's folder", "the group's folder, handed on", "the owner's folder")),
    ],
)
def test_a_reader_killed_at_any_step_stops_nobody(share: Callable[[str], Shared], name: str, beside: str) -> None:
    """Wherever in opening, reading and closing another user's process is killed, the owner's next write succeeds and
    the next reader sees it."""
    shared = share(name)
    victim = shared.another_reader()
    written, step = 1, 1
    while True:
        if beside == "the owner":
            assert shared.owner.do("open") == "written"
            written += 1
        killed = victim.do("kill", step, "count")
        assert shared.owner.do("close") == "closed"
        assert shared.owner.do("write") == "written"
        written += 1
        assert shared.reader.do("count") == written, step
        if not killed:
            break
        step += 1
    assert step > 10
    assert shared.owner.do("write") == "written"
    assert shared.reader.do("read") == [written + 1] * 3


@pytest.mark.parametrize("name", ["anybody's folder", "the group's folder, handed on", "the owner's folder"])
def test_a_query_killed_at_any_step_stops_nobody(share: Callable[[str], Shared], name: str) -> None:
    """The same for a query, which opens the file once more."""
    shared = share(name)
    victim = shared.another_reader()
    written, step = 1, 12
    while victim.do("kill", step, "read"):
        assert shared.owner.do("write") == "written"
        written += 1
        step += 3
    assert step > 12
    assert shared.owner.do("write") == "written"
    assert shared.reader.do("read") == [written + 1] * 3


@pytest.mark.parametrize("name", WRITABLE)
def test_reading_while_the_owner_writes(share: Callable[[str], Shared], name: str) -> None:
    """While the owner opens, writes and closes again and again, another user's readers meet no error, and never less
    than before."""
    shared = share(name)
    shared.reader.ask("watch", 41)
    assert shared.owner.do("many", 40) == "written"
    seen = shared.reader.answer()
    assert seen == sorted(seen)
    assert seen[-1] == 41


def test_a_writer_that_is_not_the_owner_stops_nobody(share: Callable[[str], Shared]) -> None:
    """Members of the database's group write in turn with the owner, killed at any step."""
    for name in ("the group's folder, handed on", "the group's database", "anybody's database"):
        shared = share(name)
        victim = shared.another_reader()
        step = 1
        while victim.do("kill", step, "write"):
            assert shared.owner.do("write") == "written", (name, step)
            step += 1
        assert step > 10
        assert shared.owner.do("read") == shared.reader.do("read")
        shutil.rmtree(shared.folder)


@pytest.mark.parametrize("name", ["anybody's folder", "the owner's folder", "root reads what it cannot give away"])
def test_who_may_not_write_is_told_so_and_leaves_nothing(share: Callable[[str], Shared], name: str) -> None:
    """A user who may not write the database and tries is told so, and leaves no file behind."""
    shared = share(name)
    if LAYOUTS[name].reader:
        answer = shared.reader.do("write")
        assert (answer["kind"], "cannot be written" in answer["message"]) == ("store_unavailable", True)
    else:
        assert shared.reader.do("write") == "written"
    assert shared.owner.do("write") == "written"
    assert shared.files == ALONE


def test_side_files_that_another_program_left_are_removed(others: Others, share: Callable[[str], Shared]) -> None:
    """The owner removes side files that it cannot write, such as another program makes, while nobody has the database
    open; while somebody has, it says that it is held."""
    shared = share("anybody's folder")
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], uri=True);"
        "c.execute('SELECT 1 FROM core_runs').fetchall(); print('open', flush=True); sys.stdin.readline()"
    )
    command = [others.python, "-c", program, f"file:{shared.db}?mode=ro"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, **others.how(READER)) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        assert shared.files == BOTH
        assert {path.stat().st_uid for path in shared.folder.glob("*-*")} == {READER}
        assert shared.owner.do("write")["kind"] == "locked"
        other.communicate("go\n")
    assert shared.owner.do("write") == "written"
    assert shared.reader.do("read") == [2, 2, 2]


def test_commits_that_cannot_be_read_are_an_error_and_not_left_out(share: Callable[[str], Shared]) -> None:
    """Where the log holds commits and its index is gone, a reader who can make none says so instead of showing less."""
    shared = share("the owner's folder")
    assert shared.owner.do("open") == "written"
    log = shared.db.with_name("store.db-wal")
    kept = log.read_bytes()
    shared.owner.close()
    shared.db.with_name("store.db-shm").unlink()
    assert log.read_bytes() == kept
    answer = shared.reader.do("read")
    assert (answer["kind"], "store.db-wal" in answer["message"]) == ("store_unavailable", True)
    assert "cannot be written" not in answer["message"]


MODES = [
    # folder's group and mode, umask, expected group and mode
    (OWNER, 0o755, 0o022, OWNER, 0o644),
    (OWNER, 0o775, 0o022, OWNER, 0o664),
    (OWNER, 0o700, 0o022, OWNER, 0o600),
    (OWNER, 0o750, 0o022, OWNER, 0o640),
    (OWNER, 0o755, 0o077, OWNER, 0o600),
    (OWNER, 0o755, 0o027, OWNER, 0o640),
    (OWNER, 0o775, 0o002, OWNER, 0o664),
    (GROUP, 0o2775, 0o022, GROUP, 0o664),
    (GROUP, 0o2770, 0o022, GROUP, 0o660),
    (GROUP, 0o2770, 0o077, GROUP, 0o660),
    (GROUP, 0o2775, 0o027, GROUP, 0o660),
    (GROUP, 0o2755, 0o022, GROUP, 0o644),
    (GROUP, 0o775, 0o022, OWNER, 0o644),
    (GROUP, 0o777, 0o000, OWNER, 0o644),
]


@pytest.mark.parametrize(("folder_group", "folder_mode", "umask", "group", "mode"), MODES)
def test_new_files_take_the_folders_group_bits(
    others: Others, place: Path, folder_group: int, folder_mode: int, umask: int, group: int, mode: int
) -> None:
    """A database, its side files, a backup and a rebuilt one have the group and mode that the folder asks for; nobody
    else may read them unless umask and folder allow it."""
    folder = place / "new"
    folder.mkdir()
    os.chown(folder, OWNER, folder_group)
    folder.chmod(folder_mode)
    db = folder / "store.db"
    with closing(User(others, db, OWNER, (GROUP,), umask)) as owner:
        assert owner.do("open") == "written"
        made = {path.name: (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}
        assert made == dict.fromkeys(BOTH, (group, mode))
    how = {**others.how(OWNER, [GROUP]), "umask": umask}
    for arguments in (["db", "backup", str(folder / "copy.db")], ["rebuild", "--into", str(folder / "again.db")]):
        command = [others.python, "-m", "market_spine", *arguments, "--db", str(db)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **how)
        assert (done.returncode, done.stderr) == (0, "")
    for name in ("copy.db", "again.db"):
        found = (folder / name).stat()
        assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (group, mode), name


def test_a_copy_of_a_private_database_is_private(others: Others, place: Path) -> None:
    """Whoever makes a backup or a rebuilt one of a database that not everybody may read: neither may everybody read
    the copy."""
    with closing(User(others, place / "store.db", 0, (), 0o027)) as owner:
        assert owner.do("write") == "written"
    how = {**others.how(0), "umask": 0o022, "cwd": place}
    for arguments in (["db", "backup", "copy.db"], ["rebuild", "--into", "again.db"]):
        subprocess.run([others.python, "-m", "market_spine", *arguments, "--db", "store.db"], check=True, **how)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.glob("*.db")} == {
        "store.db": 0o640,
        "copy.db": 0o640,
        "again.db": 0o640,
    }
