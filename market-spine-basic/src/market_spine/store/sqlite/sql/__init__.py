"""Numbered migrations of what only SQLite has: bulk tables in columns."""
