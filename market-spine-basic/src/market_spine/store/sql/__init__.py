"""The platform's numbered migrations. The same text runs on SQLite and PostgreSQL."""
