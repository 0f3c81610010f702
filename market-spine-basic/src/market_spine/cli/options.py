"""Options that several platform commands share."""

from __future__ import annotations

import click

db_option = click.option("--db", metavar="PATH|URL", help="Database; else DATABASE_URL, else data/market_spine.db.")
domain_option = click.option(
    "--domain", metavar="NAME", help="Short or full name of a domain; default: inferred, or all."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
