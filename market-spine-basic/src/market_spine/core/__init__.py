"""The pure heart: partitions, captures, fingerprints, revisions. No I/O, no clock, no environment."""
