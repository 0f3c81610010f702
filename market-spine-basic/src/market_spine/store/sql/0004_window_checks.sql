-- Up to which commit moment all windows of a domain were found to stand, under which versions of their code.
CREATE TABLE core_window_checks (
    domain          TEXT NOT NULL,
    versions        TEXT NOT NULL,
    checked_through TIMESTAMPTZ NOT NULL,
    checked_at      TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_window_checks_domain ON core_window_checks (domain, checked_through);
