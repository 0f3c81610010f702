"""Pages that describe what the program itself can list: its commands and flags, and the platform's tables."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from market_spine.cli.main import root
from market_spine.core.domain import Domain, Normalized
from market_spine.store import open_writer, parse_url

REPOSITORY = Path(__file__).resolve().parents[3]


def commands(command: click.Command, path: tuple[str, ...] = ("market-spine",)) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, by the words that call it."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from commands(below, (*path, name))


COMMANDS = dict(commands(root))


def sections(page: str) -> dict[str, str]:
    """The sections of a page in docs/, by heading."""
    text = (REPOSITORY / "docs" / page).read_text("utf-8")
    return dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_flag_is_described(name: str) -> None:
    """A command has its section in docs/commands.md, and each of its flags a row there with a description."""
    (text,) = (
        body
        for heading, body in sections("commands.md").items()
        if heading.split()[: name.count(" ") + 1] == name.split()
    )
    rows = dict(re.findall(r"^\| (`--.+?) \| .*? \| (.*?) \|$", text, re.MULTILINE))
    described = {flag for names, meaning in rows.items() if meaning for flag in re.findall(r"`(--[\w-]+)`", names)}
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option) and not each.hidden]
    assert described == {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
    assert text.strip().partition("\n")[0].endswith((".", ":"))


def test_no_command_is_described_that_does_not_exist() -> None:
    """docs/commands.md has one section for each command, and no other."""
    assert len(sections("commands.md")) == len(COMMANDS) >= 14


def test_the_page_of_commands_is_what_the_generator_writes() -> None:
    """docs/commands.md is current: make generate would change nothing."""
    script = runpy.run_path(str(REPOSITORY / "scripts/generate_commands.py"))
    assert script["render"]() == script["PAGE"].read_text("utf-8")


def platform_tables(folder: Path) -> dict[str, set[str]]:
    """The platform's tables and views in a fresh store, with their columns."""
    with open_writer(parse_url(str(folder / "store.db")), [], clock=lambda: datetime(2025, 1, 6, tzinfo=UTC)) as store:
        db: Any = store._db
        names = sorted(name for name in db.relations() if name.startswith("core_"))
        return {name: {row[1] for row in db.rows(f'PRAGMA table_info("{name}")')} for name in names}


def test_the_data_dictionary_has_every_platform_table(tmp_path: Path) -> None:
    """docs/data-dictionary.md lists each ``core_`` table and view, and names each of its columns and no other."""
    text = sections("data-dictionary.md")["Time and versions"]
    listed = re.findall(r"^\| `(core_\w+)` \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", columns)) for name, columns in listed} == platform_tables(tmp_path)


def test_the_page_for_authors_names_all_that_a_domain_may_say() -> None:
    """docs/adding-a-domain.md names each member of Domain that an author may write, and each field of Normalized."""
    page = (REPOSITORY / "docs/adding-a-domain.md").read_text("utf-8")
    members = {name for name in (*vars(Domain), *Domain.__annotations__) if not name.startswith("_")}
    ours = {"stages", "widened"}  # what the platform makes of the others
    assert ours <= members
    missing = {name for name in {*(members - ours), *Normalized._fields} if not re.search(rf"\b{name}\b", page)}
    assert missing == set()
