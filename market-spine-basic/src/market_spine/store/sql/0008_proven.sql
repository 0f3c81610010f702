-- Whether totals that came with an observation prove its rows; null for what was recorded before.
ALTER TABLE core_manifest ADD COLUMN proven BOOLEAN;
