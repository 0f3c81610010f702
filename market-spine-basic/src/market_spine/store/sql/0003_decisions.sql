-- What people decided, append only. quiet_until: from then on an acknowledged anomaly that is seen again is open.
CREATE TABLE core_decisions (
    decision_id   INTEGER PRIMARY KEY,
    domain        TEXT NOT NULL,
    partition_key TEXT NOT NULL,
    capture_id    TEXT,
    verb          TEXT NOT NULL,
    kind          TEXT NOT NULL,
    decided_by    TEXT NOT NULL,
    reason        TEXT NOT NULL,
    quiet_until   TIMESTAMPTZ,
    run_id        TEXT NOT NULL,
    decided_at    TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_decisions_partition ON core_decisions (domain, partition_key, verb, kind);
CREATE INDEX core_decisions_moment ON core_decisions (decided_at);
