"""What a schema holds, as the server tells it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import psycopg

from market_spine.store.database import Database
from market_spine.store.location import StoreUrl
from market_spine.store.objects import Index, KeptColumn, Objects, kind
from market_spine.store.postgres.connect import connect, translated
from market_spine.store.views import quote

_COLUMNS = """\
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       COALESCE(array_position(k.indkey::int2[], a.attnum) + 1, 0),
       a.atttypid = 'text'::regtype AND a.attcollation <> '"C"'::regcollation
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary
 WHERE n.nspname = ? AND c.relkind IN ('r', 'p')
 ORDER BY c.relname, a.attnum
"""
_INDEXES = """\
SELECT t.relname, c.relname, i.indisunique, pg_get_indexdef(i.indexrelid, k.n::int, true)
       || CASE WHEN (i.indoption[k.n - 1] & 1) = 1 THEN ' DESC' ELSE '' END
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_class t ON t.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
 CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS k(n)
 WHERE n.nspname = ? AND NOT i.indisprimary
 ORDER BY t.relname, c.relname, k.n
"""
_VIEWS = """\
SELECT c.relname, pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ? AND c.relkind IN ('v', 'm')
"""
_TRIGGERS = """\
SELECT g.tgname, c.relname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ? AND NOT g.tgisinternal
UNION ALL
SELECT r.rulename, c.relname FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ? AND c.relkind IN ('r', 'p')
"""
_MODEL = "market_spine_declared"
_SAME = f"SELECT pg_get_viewdef('pg_temp.{_MODEL}'::regclass) = pg_get_viewdef(%s::regclass)"


def objects(db: Database, schema: str) -> Objects:
    """See ``Database.objects``."""
    tables: dict[str, dict[str, KeptColumn]] = {}
    for table, name, declared, required, key, ordered in db.rows(_COLUMNS, (schema,)):
        # Text that sorts by a language's rules is not what the store compares by.
        spelt = f"{kind(declared)} that sorts by a locale" if ordered else kind(declared)
        tables.setdefault(table, {})[name] = KeptColumn(spelt, required, key)
    indexes: dict[str, Index] = {}
    for table, name, unique, column in db.rows(_INDEXES, (schema,)):
        before = indexes[name].columns if name in indexes else ()
        # The server quotes what is a word of its own.
        indexes[name] = Index(table, (*before, column.replace('"', "")), unique)
    views = dict(db.rows(_VIEWS, (schema,)))
    return Objects(tables, indexes, views, dict(db.rows(_TRIGGERS, (schema, schema))))


def replaced_views(url: StoreUrl, wait_seconds: float, declared: Mapping[str, str]) -> list[str] | None:
    """See ``Database.replaced_views``: the server renders both, the view and a temporary one of the declaration."""
    connection, schema = connect(url, wait_seconds, read_only=False)
    found = []
    with closing(connection), translated(url, wait_seconds):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE")
        for name, body in declared.items():
            connection.execute("SAVEPOINT before")
            try:
                connection.execute(f"CREATE TEMP VIEW {_MODEL} AS {body}")
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
                return None
            except psycopg.ProgrammingError:
                # What it stands on was replaced by something without its columns.
                connection.execute("ROLLBACK TO before")
                found.append(name)
                continue
            row = connection.execute(_SAME, (f"{quote(schema)}.{quote(name)}",)).fetchone()
            if row != (True,):
                found.append(name)
            connection.execute("ROLLBACK TO before")
    return sorted(found)
