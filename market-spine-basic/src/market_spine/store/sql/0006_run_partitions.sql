-- What a run found of each partition: the entries of its result as rows, in their order, written with the result.
CREATE TABLE core_run_partitions (
    run_id        TEXT NOT NULL,
    position      BIGINT NOT NULL,
    domain        TEXT NOT NULL,
    partition_key TEXT NOT NULL,
    pipeline      TEXT NOT NULL,
    status        TEXT NOT NULL,
    reason        TEXT,
    kind          TEXT,
    duration_ms   BIGINT NOT NULL,
    recorded_at   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (run_id, position)
);
CREATE INDEX core_run_partitions_partition ON core_run_partitions (domain, partition_key, recorded_at);
CREATE INDEX core_run_partitions_moment ON core_run_partitions (recorded_at);
