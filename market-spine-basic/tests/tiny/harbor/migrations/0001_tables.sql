CREATE TABLE harbor_landing_versions (
    day DATE NOT NULL, ship TEXT NOT NULL, tons DOUBLE PRECISION NOT NULL,
    manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
CREATE TABLE harbor_tide_versions (
    day DATE NOT NULL, hour BIGINT NOT NULL, metres DOUBLE PRECISION NOT NULL,
    manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
CREATE TABLE harbor_total_versions (
    day DATE NOT NULL, ships BIGINT NOT NULL, tons DOUBLE PRECISION NOT NULL,
    manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
CREATE TABLE harbor_recent_versions (
    day DATE NOT NULL, days BIGINT NOT NULL, tons DOUBLE PRECISION NOT NULL,
    manifest_id BIGINT NOT NULL, superseded_by BIGINT
);
