"""The views users read: what is known now, and the same names as of a moment."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

from market_spine.core.domain import Domain
from market_spine.core.partition import Scope, Value
from market_spine.core.schema import Table, View
from market_spine.store.database import Database
from market_spine.store.sessions import NAME as SESSIONS

ANOMALIES = View(
    "core_anomalies",
    """\
SELECT a.*,
       (SELECT MAX(d.decided_at)
          FROM core_decisions d
         WHERE d.verb = 'ack' AND d.domain = a.domain AND d.partition_key = a.partition_key AND d.kind = a.kind
           AND d.decided_at >= a.first_seen AND (a.resolved_at IS NULL OR d.decided_at <= a.resolved_at)
           AND (d.quiet_until IS NULL OR a.last_seen < d.quiet_until)) AS acknowledged_at
  FROM (SELECT domain, partition_key, kind,
               MAX(CASE WHEN event = 'seen' AND recency = 1 THEN severity END) AS severity,
               MAX(CASE WHEN event = 'seen' AND recency = 1 THEN message END) AS message,
               MAX(CASE WHEN event = 'seen' AND recency = 1 THEN details END) AS details,
               MIN(CASE WHEN event = 'seen' THEN occurred_at END) AS first_seen,
               MAX(CASE WHEN event = 'seen' THEN occurred_at END) AS last_seen,
               SUM(CASE WHEN event = 'seen' THEN 1 ELSE 0 END) AS count,
               MAX(CASE WHEN event = 'resolved' THEN occurred_at END) AS resolved_at
          FROM (SELECT e.*,
                       ROW_NUMBER() OVER (
                           PARTITION BY domain, partition_key, kind, episode, event ORDER BY event_id DESC
                       ) AS recency
                  FROM (SELECT core_anomaly_events.*,
                               COALESCE(SUM(CASE WHEN event = 'resolved' THEN 1 ELSE 0 END) OVER (
                                   PARTITION BY domain, partition_key, kind ORDER BY event_id
                                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                               ), 0) AS episode
                          FROM core_anomaly_events) AS e) AS numbered
         GROUP BY domain, partition_key, kind, episode) AS a
""",
    ("core_anomaly_events", "core_decisions"),
    "One row per anomaly from first sight to resolution; what is seen after that is a new one. acknowledged_at:"
    " when a person set it aside, null once it is seen again after the day they named.",
)

RUNS = View(
    "core_runs",
    """\
SELECT run_id, domain, scheduler, started_at, finished_at, status, exit_code, attempted, succeeded, failed, skipped,
       result, recorded_at
  FROM core_run_ends
UNION ALL
SELECT s.run_id, s.domain, s.scheduler, s.started_at, NULL, 'unfinished', NULL, 0, 0, 0, 0, s.document, s.recorded_at
  FROM core_run_starts s
 WHERE NOT EXISTS (SELECT 1 FROM core_run_ends e WHERE e.run_id = s.run_id)
""",
    ("core_run_ends", "core_run_starts"),
    "One row per run of a scheduler: its result, or unfinished while it has none, for it is still at work or was"
    " killed.",
)
QUALITY = View(
    "core_partition_quality",
    """\
SELECT p.domain, p.partition_key, c.capture_id, c.captured_at, c.row_count, c.rejected, c.duplicates,
       CASE WHEN c.row_count + c.rejected > 0
            THEN CAST(c.rejected AS DOUBLE PRECISION) / (c.row_count + c.rejected) END AS rejected_share,
       CASE WHEN n.manifest_id IS NOT NULL THEN n.proven ELSE c.proven END AS verified,
       COALESCE(r.revisions, 0) AS revisions, COALESCE(a.open_errors, 0) AS open_errors,
       COALESCE(a.open_warnings, 0) AS open_warnings, COALESCE(a.acknowledged, 0) AS acknowledged
  FROM (SELECT domain, partition_key FROM core_manifest
        UNION SELECT domain, partition_key FROM core_anomalies) AS p
  LEFT JOIN (SELECT domain, partition_key,
                    MAX(CASE WHEN status = 'committed' THEN manifest_id END) AS committed,
                    MAX(CASE WHEN status = 'noted' THEN manifest_id END) AS noted,
                    COALESCE(MAX(CASE WHEN status = 'emptied' THEN manifest_id END), 0) AS emptied
               FROM core_manifest WHERE stage = 'ingest' GROUP BY domain, partition_key) AS l
    ON l.domain = p.domain AND l.partition_key = p.partition_key
  LEFT JOIN core_manifest AS c ON c.manifest_id = l.committed AND l.committed > l.emptied
  LEFT JOIN core_manifest AS n
    ON n.manifest_id = l.noted AND l.noted > l.committed AND n.capture_id = c.capture_id
  LEFT JOIN (SELECT m.domain, m.partition_key, COUNT(DISTINCT m.capture_id) AS revisions
               FROM core_manifest AS m
               LEFT JOIN (SELECT domain, partition_key, capture_id,
                                 MAX(CASE WHEN verb = 'retract' THEN decision_id ELSE 0 END) AS retracted,
                                 MAX(CASE WHEN verb = 'accept' THEN decision_id ELSE 0 END) AS accepted
                            FROM core_decisions GROUP BY domain, partition_key, capture_id) AS d
                 ON d.domain = m.domain AND d.partition_key = m.partition_key AND d.capture_id = m.capture_id
              WHERE m.stage = 'ingest' AND m.status = 'committed' AND m.is_revision
                AND COALESCE(d.retracted, 0) <= COALESCE(d.accepted, 0)
              GROUP BY m.domain, m.partition_key) AS r
    ON r.domain = p.domain AND r.partition_key = p.partition_key
  LEFT JOIN (SELECT domain, partition_key,
                    COUNT(CASE WHEN acknowledged_at IS NULL AND severity = 'error' THEN 1 END) AS open_errors,
                    COUNT(CASE WHEN acknowledged_at IS NULL AND severity <> 'error' THEN 1 END) AS open_warnings,
                    COUNT(acknowledged_at) AS acknowledged
               FROM core_anomalies WHERE resolved_at IS NULL GROUP BY domain, partition_key) AS a
    ON a.domain = p.domain AND a.partition_key = p.partition_key
""",
    ("core_manifest", "core_anomalies", "core_decisions"),
    "One row per partition that anything is known of: rows, rejects and their share, how often the source restated it,"
    " whether totals of the source's own prove it, and its anomalies.",
)
PLATFORM = (ANOMALIES, RUNS, QUALITY)
"""The platform's own views, each after those that it stands on."""

_BY_ENTRY = "manifest_id IN (SELECT manifest_id FROM {schema}.core_manifest WHERE committed_at <= {at})"
_CORE_AS_OF = {
    "core_manifest": "committed_at <= {at}",
    "core_capture_parts": _BY_ENTRY,
    "core_rejects": _BY_ENTRY,
    "core_payloads": f"sha256 IN (SELECT sha256 FROM {{schema}}.core_capture_parts WHERE {_BY_ENTRY})",
    "core_run_starts": "recorded_at <= {at}",
    "core_run_ends": "recorded_at <= {at}",
    "core_run_partitions": "recorded_at <= {at}",
    "core_window_checks": "checked_at <= {at}",
    "core_anomaly_events": "occurred_at <= {at}",
    "core_decisions": "decided_at <= {at}",
    "core_notifications": "sent_at <= {at}",
    "core_migrations": "applied_at <= {at}",
    "core_requests": "planned_at <= {at}",
    "core_refusals": "learnt_at <= {at}",
}
"""Platform tables and the condition under which a row was known at a moment; their rows never change."""
CORE = (*_CORE_AS_OF, SESSIONS)
"""The platform's tables, and its view that each database makes in its own way."""


def scope_condition(scope: Scope, alias: str = "") -> tuple[str, list[Value]]:
    """A scope as an SQL condition (always true for an empty scope) and its parameters."""
    conditions = [f"{alias}{quote(name)} = ?" for name in scope.equals]
    conditions += [f"{alias}{quote(name)} BETWEEN ? AND ?" for name in scope.between]
    bounds = [bound for pair in scope.between.values() for bound in pair]
    return " AND ".join(conditions) or "1 = 1", [*scope.equals.values(), *bounds]


def quote(name: str) -> str:
    """Quote an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _data_columns(table: Table) -> str:
    return _listed(table.names)


@lru_cache(maxsize=1024)
def _listed(names: tuple[str, ...]) -> str:
    """Columns of ``v``; whoever opens a store asks for those of every table."""
    return ", ".join(f"v.{quote(name)}" for name in names)


def current_view(table: Table) -> str:
    """SELECT of the rows of a table that are known now, with the capture that brought them."""
    # A LEFT JOIN on a unique column, so that the database leaves it out when nobody asks for its columns.
    return (
        f"SELECT {_data_columns(table)}, m.capture_id, m.captured_at\n"
        f"  FROM {quote(table.versions)} v\n"
        f"  LEFT JOIN core_manifest m ON m.manifest_id = v.manifest_id\n"
        f" WHERE v.superseded_by IS NULL\n"
    )


def history_view(table: Table, physical: str = "") -> View:
    """Every version of every row of a table; ``physical`` is the name of where they are, if not the usual one."""
    # Joined to the manifest as it is shown: as of a moment it knows neither what came nor what went later.
    sql = (
        f"SELECT {_data_columns(table)}, m.capture_id, m.committed_at AS known_from, s.committed_at AS known_until,"
        f" m.manifest_id, s.manifest_id AS superseded_by\n"
        f"  FROM {physical or quote(table.versions)} v\n"
        f"  JOIN core_manifest m ON m.manifest_id = v.manifest_id\n"
        f"  LEFT JOIN core_manifest s ON s.manifest_id = v.superseded_by\n"
    )
    doc = f"Every version of every row of `{table.name}`, with the entries and moments between which it was known."
    return View(f"{table.name}_history", sql, (table.versions, "core_manifest"), doc)


def shown_by(domain: Domain) -> list[View]:
    """The views of a domain beside its tables: their histories, and those that it declares."""
    return [*(history_view(table) for table in domain.tables if table.history), *domain.views]


def as_of_view(table: Table, schema: str, at: str) -> str:
    """SELECT of the rows of a table that were known at the moment ``at`` (an SQL literal)."""
    return (
        f"SELECT {_data_columns(table)}, m.capture_id, m.captured_at\n"
        f"  FROM {schema}.{quote(table.versions)} v\n"
        f"  JOIN {schema}.core_manifest m ON m.manifest_id = v.manifest_id\n"
        f"  LEFT JOIN {schema}.core_manifest s ON s.manifest_id = v.superseded_by\n"
        f" WHERE m.committed_at <= {at} AND (v.superseded_by IS NULL OR s.committed_at > {at})\n"
    )


def as_of_views(
    domains: Sequence[Domain], moment: str, schema: str, relations: Collection[str], sessions: str
) -> list[tuple[str, str]]:
    """All views as of a moment, (name, SELECT) in dependency order.

    Args:
        domains: whose tables and views to show.
        moment: the moment as ``moments.to_text`` spells it.
        schema: the quoted name of the schema that holds the physical tables.
        relations: what exists there; a table that does not is left out, with what depends on it.
        sessions: SELECT of the exchange's sessions, which are the same as of every moment.
    """
    at = f"'{moment}'"
    found = [
        (name, f"SELECT * FROM {schema}.{name} WHERE {condition.format(schema=schema, at=at)}")
        for name, condition in _CORE_AS_OF.items()
    ]
    found.append((SESSIONS, sessions))
    for domain in domains:
        for table in domain.tables:
            if table.versions in relations:
                found.append((table.name, as_of_view(table, schema, at)))
                if table.history:
                    past = history_view(table, f"{schema}.{quote(table.versions)}")
                    found.append((past.name, past.sql))
    declared = (*PLATFORM, *(view for domain in domains for view in domain.views))
    return found + [(view.name, view.sql) for view in ready(declared, {name for name, _ in found})]


def ready(views: Iterable[View], present: set[str]) -> list[View]:
    """The views whose dependencies exist, in an order in which they can be created."""
    waiting, ordered, present = list(views), [], set(present)
    while ready := [view for view in waiting if present.issuperset(view.depends_on)]:
        waiting = [view for view in waiting if view not in ready]
        present.update(view.name for view in ready)
        ordered += ready
    return ordered


def declared_views(
    db: Database, domains: Sequence[Domain], relations: Collection[str]
) -> dict[str, list[tuple[str, str]]]:
    """Set name (``views:platform``, ``views:<domain>``) to its current views, as (name, SELECT) in order.

    A view of a table that the database keeps in columns cannot be made in it, nor what stands on one.

    Args:
        db: where they are to be.
        domains: whose declarations to read.
        relations: the tables and views that exist; a view waits until everything it depends on does.
    """
    sets = {"views:platform": [(SESSIONS, db.sessions), *((view.name, view.sql) for view in PLATFORM)]}
    tables = {
        domain.name: [
            table for table in domain.tables if table.versions in relations and not (table.bulk and db.columnar)
        ]
        for domain in domains
    }
    declared = [view for domain in domains for view in shown_by(domain)]
    # Without the views themselves: those that exist already must not change the order.
    present = set(relations).difference(view.name for view in declared)
    present.difference_update(table.name for domain in domains for table in domain.tables)
    present.update(table.name for each in tables.values() for table in each)
    if db.columnar:
        present.difference_update(table.versions for domain in domains for table in domain.tables if table.bulk)
    shown = ready(declared, present | {SESSIONS} | {view.name for view in PLATFORM})
    for domain in domains:
        own = shown_by(domain)
        sets[f"views:{domain.name}"] = [
            *((table.name, current_view(table)) for table in tables[domain.name]),
            *((view.name, view.sql) for view in shown if view in own),
        ]
    return sets


def checksum(views: Sequence[tuple[str, str]]) -> str:
    """Digest of a set of views, equal for equal declarations."""
    return hashlib.sha256("\n".join(part for view in views for part in view).encode()).hexdigest()


def create(db: Database, domains: Sequence[Domain], sets: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Create the views of all sets, each after those that it stands on."""
    bodies = {name: body for declared in sets.values() for name, body in declared}
    views = [view for domain in domains for view in shown_by(domain) if view.name in bodies]
    tables = [name for name in bodies if name not in {view.name for view in views}]
    ordered = ready(views, {*tables, *db.relations()})
    for name in (*tables, *(view.name for view in ordered)):
        db.run(f"CREATE VIEW {quote(name)} AS {bodies[name]}")
