"""The data dictionary: rendered from declarations, and committed as rendered."""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from market_spine.core.dictionary import render_dictionary
from market_spine.core.domain import Domain
from market_spine.core.schema import Column, Table, View
from market_spine.registry import domains

REPOSITORY = Path(__file__).resolve().parents[3]

TEAS = Table(
    "teas",
    (Column("name", "text", "What it is called.", nullable=False), Column("price", "float", "EUR | kg.")),
    ("name",),
    ("name",),
    "Teas on offer.",
    stage="normalize",
)
CHEAP = View("cheap_teas", "SELECT name\n  FROM teas\n WHERE price < 5\n", ("teas",), "Teas for every day.")


@dataclass(frozen=True)
class Shop:
    """What a dictionary needs of a domain."""

    name: str = "shop.teas"
    tables: tuple[Table, ...] = (TEAS,)
    views: tuple[View, ...] = (CHEAP,)


def test_tables_are_listed_with_every_column_and_the_key() -> None:
    """A table shows its sentence, key, partition, stage, and a line for each column."""
    text = render_dictionary([cast("Domain", Shop())])
    assert "## Domain `shop.teas`\n\n### `teas`\n\nTeas on offer.\n" in text
    assert "Key: `name`. Partition: `name`. Filled by stage: `normalize`.\n" in text
    assert "| `name` | text | no | What it is called. |\n" in text


def test_a_bar_in_a_meaning_does_not_break_the_table() -> None:
    """Markdown's column separator is escaped."""
    assert "| `price` | float | yes | EUR &#124; kg. |\n" in render_dictionary([cast("Domain", Shop())])


def test_views_are_listed_with_their_sql_and_what_they_read() -> None:
    """A view shows its sentence, the tables it reads and its SELECT."""
    text = render_dictionary([cast("Domain", Shop())])
    assert "### `cheap_teas` (view)\n\nTeas for every day. Reads `teas`.\n\n```sql\nSELECT name\n  FROM teas\n" in text
    assert text.endswith(" WHERE price < 5\n```\n")


def test_the_versioning_columns_are_explained() -> None:
    """Every dictionary says what the columns mean that no table declares."""
    text = render_dictionary([])
    for column in ("capture_id", "captured_at", "manifest_id", "superseded_by"):
        assert f"| `{column}` |" in text


def test_the_committed_dictionary_is_what_the_generator_writes() -> None:
    """docs/data-dictionary.md is current: generating it again would change nothing."""
    script = runpy.run_path(str(REPOSITORY / "scripts/generate_dictionary.py"))
    assert script["render"]() == script["DICTIONARY"].read_text("utf-8")


def test_every_installed_domains_tables_and_columns_are_there() -> None:
    """The committed page names each table, view and column that any installed domain declares."""
    page = (REPOSITORY / "docs/data-dictionary.md").read_text("utf-8")
    declared = [
        (domain.name, relation.name, column.name)
        for domain in domains()
        for relation in domain.tables
        for column in relation.columns
    ]
    declared += [(domain.name, view.name, "") for domain in domains() for view in domain.views]
    assert len({name for name, _, _ in declared}) >= 3
    for name, relation, column in declared:
        section = page.partition(f"## Domain `{name}`\n")[2].partition("\n## ")[0]
        described = section.partition(f"### `{relation}`")[2].partition("\n### ")[0]
        assert described, relation
        assert not column or f"| `{column}` |" in described, (relation, column)
