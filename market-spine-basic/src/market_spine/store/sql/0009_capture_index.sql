-- Captures are looked up by their ingest entries alone. Of all stages the index was four times as large, and each commit
-- of a long history wrote as many pages of it as it had entries.
DROP INDEX core_manifest_capture;
CREATE INDEX core_manifest_capture ON core_manifest (capture_id) WHERE stage = 'ingest';
