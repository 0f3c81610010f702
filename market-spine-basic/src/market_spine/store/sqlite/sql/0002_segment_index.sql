-- The segments of one partition side by side, so that a commit writes one page of the index and not one for each table.
DROP INDEX core_segments_scope;
CREATE INDEX core_segments_scope ON core_segments (partition_key, table_name);
