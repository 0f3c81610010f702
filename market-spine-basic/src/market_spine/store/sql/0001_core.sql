-- manifest_id is INTEGER, not BIGINT, because only that makes it the row's own address in SQLite.
CREATE TABLE core_manifest (
    manifest_id      INTEGER PRIMARY KEY,
    domain           TEXT NOT NULL,
    partition_key    TEXT NOT NULL,
    stage            TEXT NOT NULL,
    status           TEXT NOT NULL,
    capture_id       TEXT NOT NULL,
    fingerprint      TEXT NOT NULL,
    pipeline_version TEXT NOT NULL,
    source_hash      TEXT NOT NULL,
    content_hash     TEXT NOT NULL,
    row_count        BIGINT NOT NULL,
    rejected         BIGINT NOT NULL,
    duplicates       BIGINT NOT NULL,
    is_revision      BOOLEAN NOT NULL,
    rows_added       BIGINT,
    rows_removed     BIGINT,
    rows_changed     BIGINT,
    input_captures   TEXT NOT NULL,
    scope            TEXT NOT NULL,
    run_id           TEXT NOT NULL,
    committed_at     TIMESTAMPTZ NOT NULL,
    captured_at      TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_manifest_partition ON core_manifest (domain, partition_key, stage, status);
CREATE INDEX core_manifest_capture ON core_manifest (capture_id);
CREATE INDEX core_manifest_moment ON core_manifest (committed_at);

CREATE TABLE core_capture_parts (
    manifest_id BIGINT NOT NULL,
    part        TEXT NOT NULL,
    sha256      TEXT NOT NULL,
    origin      TEXT NOT NULL,
    size        BIGINT NOT NULL,
    carried     BOOLEAN NOT NULL,
    metadata    TEXT NOT NULL,
    PRIMARY KEY (manifest_id, part)
);

CREATE TABLE core_payloads (
    sha256 TEXT PRIMARY KEY,
    size   BIGINT NOT NULL,
    codec  TEXT NOT NULL,
    data   BYTEA NOT NULL
);

CREATE TABLE core_rejects (
    manifest_id   BIGINT NOT NULL,
    capture_id    TEXT NOT NULL,
    partition_key TEXT NOT NULL,
    part          TEXT NOT NULL,
    line          BIGINT NOT NULL,
    rule          TEXT NOT NULL,
    raw           TEXT NOT NULL
);
CREATE INDEX core_rejects_manifest ON core_rejects (manifest_id);

CREATE TABLE core_runs (
    run_id      TEXT PRIMARY KEY,
    domain      TEXT NOT NULL,
    scheduler   TEXT NOT NULL,
    started_at  TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    status      TEXT NOT NULL,
    exit_code   BIGINT NOT NULL,
    attempted   BIGINT NOT NULL,
    succeeded   BIGINT NOT NULL,
    failed      BIGINT NOT NULL,
    skipped     BIGINT NOT NULL,
    result      TEXT NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_runs_moment ON core_runs (recorded_at);

-- What happened to anomalies, append only: 'seen' or 'resolved'. core_anomalies is a view over it.
CREATE TABLE core_anomaly_events (
    event_id      INTEGER PRIMARY KEY,
    domain        TEXT NOT NULL,
    partition_key TEXT NOT NULL,
    kind          TEXT NOT NULL,
    event         TEXT NOT NULL,
    severity      TEXT,
    message       TEXT,
    details       TEXT,
    occurred_at   TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_anomaly_events_partition ON core_anomaly_events (domain, partition_key, kind, event_id);
CREATE INDEX core_anomaly_events_moment ON core_anomaly_events (occurred_at);
