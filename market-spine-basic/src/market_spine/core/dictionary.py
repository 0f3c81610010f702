"""The data dictionary's reference part: Markdown made from what the domains declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from market_spine.core.domain import Domain
from market_spine.core.schema import Table, View

_INTRODUCTION = """\
## Reference

Types: `text`, `integer` (64 bits), `float` (double precision), `date` (ISO), `boolean`. An SQLite file itself has
dates as text, and booleans as 0 and 1.

Each table is a view `<name>` of the rows known now, over a physical table `<name>_versions` that keeps every row ever
known. Beside the columns listed below, each view has

| column | type | null | meaning |
|---|---|---|---|
| `capture_id` | text | no | The capture whose data brought the row. |
| `captured_at` | timestamp | no | When that capture was first committed, UTC: since then the row can be known. |

and each physical table has instead

| column | type | null | meaning |
|---|---|---|---|
| `manifest_id` | integer | no | The entry of `core_manifest` that brought the row: known from its `committed_at`. |
| `superseded_by` | integer | yes | The entry that took the row away or replaced it; null while it is known. |

A table that says so has a view `<name>_history` as well: every version of every row, its columns followed by
`capture_id`, `known_from` and `known_until` (moments; null while it is known), `manifest_id` and `superseded_by`. As of
a moment it shows what was known of the past then.

In the embedded store the views of bulk tables can be read with `market-spine query`, not with other SQLite tools; see
[query.md](query.md).
"""


def render_dictionary(domains: Iterable[Domain]) -> str:
    """Markdown that lists each domain's tables and views: names, types, keys and meanings.

    Args:
        domains: in the order to show them.
    """
    return "\n".join([_INTRODUCTION, *(_domain(domain) for domain in domains)])


def _domain(domain: Domain) -> str:
    sections = [f"## Domain `{domain.name}`\n", *map(_table, domain.tables), *map(_view, domain.views)]
    return "\n".join(sections)


def _table(table: Table) -> str:
    return "\n".join(
        [
            f"### `{table.name}`\n",
            f"{table.doc}\n",
            f"Key: {_names(table.key)}. Partition: {_names(table.partition_by)}. Filled by stage: `{table.stage}`."
            + (" *Bulk*: in columns in the embedded store." if table.bulk else "")
            + (f" Every version: `{table.name}_history`.\n" if table.history else "\n"),
            "| column | type | null | meaning |",
            "|---|---|---|---|",
            *_rows(table),
            "",
        ]
    )


def _rows(table: Table) -> Iterator[str]:
    for column in table.columns:
        null = "yes" if column.nullable else "no"
        yield f"| `{column.name}` | {column.kind} | {null} | {column.doc.replace('|', '&#124;')} |"


def _view(view: View) -> str:
    reads = _names(view.depends_on)
    return f"### `{view.name}` (view)\n\n{view.doc} Reads {reads}.\n\n```sql\n{view.sql.strip()}\n```\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
