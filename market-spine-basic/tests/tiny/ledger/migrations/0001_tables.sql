CREATE TABLE ledger_row_versions (
    slot TEXT NOT NULL, leg TEXT NOT NULL, item BIGINT NOT NULL, amount BIGINT NOT NULL, note TEXT,
    manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
CREATE TABLE ledger_total_versions (
    slot TEXT NOT NULL, rows BIGINT NOT NULL, amount BIGINT NOT NULL,
    manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
CREATE TABLE ledger_pair_versions (
    slot TEXT NOT NULL, amount BIGINT NOT NULL, manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
