-- Calls to metered sources, append only. A call is written down before it is made; planned_at may lie ahead.
CREATE TABLE core_requests (
    source     TEXT NOT NULL,
    key_hash   TEXT NOT NULL,
    subject    TEXT NOT NULL,
    caller     TEXT NOT NULL,
    planned_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_requests_moment ON core_requests (source, key_hash, planned_at);

-- What sources refused to a key, append only: the latest row of a capability counts until it expires.
CREATE TABLE core_refusals (
    source     TEXT NOT NULL,
    key_hash   TEXT NOT NULL,
    capability TEXT NOT NULL,
    reason     TEXT NOT NULL,
    learnt_at  TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_refusals_capability ON core_refusals (source, key_hash, capability, learnt_at);
