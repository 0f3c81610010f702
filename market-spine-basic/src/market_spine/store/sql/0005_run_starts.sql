-- A run is written down when it begins and, in a row of its own, when it ends: nothing that was seen ever changes.
-- core_runs is a view over both; a run without an end is 'unfinished'.
ALTER TABLE core_runs RENAME TO core_run_ends;
CREATE TABLE core_run_starts (
    run_id      TEXT PRIMARY KEY,
    domain      TEXT NOT NULL,
    scheduler   TEXT NOT NULL,
    started_at  TIMESTAMPTZ NOT NULL,
    document    TEXT NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_run_starts_moment ON core_run_starts (recorded_at);
