#!/bin/sh
# Stands in for the entrypoint of the official image: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB.
set -eu
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
if [ ! -f "$PGDATA/PG_VERSION" ]; then
    (umask 077 && printf '%s\n' "$POSTGRES_PASSWORD" > /tmp/password)
    initdb -E UTF8 -D "$PGDATA" -U "$POSTGRES_USER" --pwfile /tmp/password -A scram-sha-256 > /dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -w -o "-k /tmp -h ''" start > /dev/null
    PGPASSWORD=$POSTGRES_PASSWORD createdb -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -D "$PGDATA" -w stop > /dev/null
fi
exec postgres -D "$PGDATA" -k /tmp -h '*'
