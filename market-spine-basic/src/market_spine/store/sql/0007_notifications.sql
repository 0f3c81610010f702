-- What others were told, append only, written once it was sent. notification_id is INTEGER as event_id is.
CREATE TABLE core_notifications (
    notification_id INTEGER PRIMARY KEY,
    sink            TEXT NOT NULL,
    domain          TEXT NOT NULL,
    partition_key   TEXT NOT NULL,
    kind            TEXT NOT NULL,
    first_seen      TIMESTAMPTZ NOT NULL,
    event           TEXT NOT NULL,
    severity        TEXT NOT NULL,
    sent_at         TIMESTAMPTZ NOT NULL
);
CREATE INDEX core_notifications_domain ON core_notifications (domain, notification_id);
CREATE INDEX core_notifications_moment ON core_notifications (sent_at);
