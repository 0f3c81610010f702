-- Bulk tables in columns. A segment is what one entry brought to one partition of a table: immutable, a Parquet file
-- in core_segment_data. superseded_by: the entry that closed all rows that were still current; core_closures has the
-- rows closed one by one, closed counts them.
CREATE TABLE core_segments (
    segment_id    INTEGER PRIMARY KEY,
    table_name    TEXT NOT NULL,
    partition_key TEXT NOT NULL,
    manifest_id   BIGINT NOT NULL,
    superseded_by BIGINT,
    row_count     BIGINT NOT NULL,
    closed        BIGINT NOT NULL,
    schema_id     BIGINT NOT NULL,
    size          BIGINT NOT NULL,
    sha256        TEXT NOT NULL
);
CREATE INDEX core_segments_scope ON core_segments (table_name, partition_key);

-- Apart from core_segments, so that looking through all of them does not read the data.
CREATE TABLE core_segment_data (
    segment_id INTEGER PRIMARY KEY,
    data       BYTEA NOT NULL
);

-- The columns of a segment's file, as JSON: a name and a kind each.
CREATE TABLE core_segment_schemas (
    schema_id  INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,
    columns    TEXT NOT NULL
);

CREATE TABLE core_closures (
    segment_id    BIGINT NOT NULL,
    row_number    BIGINT NOT NULL,
    superseded_by BIGINT NOT NULL,
    PRIMARY KEY (segment_id, row_number)
) WITHOUT ROWID;
