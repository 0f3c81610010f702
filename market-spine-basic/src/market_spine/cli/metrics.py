"""``market-spine metrics``: figures for Prometheus."""

from __future__ import annotations

import click

from market_spine.cli import output
from market_spine.cli.options import db_option


@click.command()
@db_option
def metrics(db: str | None) -> None:
    """Write the database's metrics in Prometheus's text format, read now; schedulers write them with --metrics-file."""
    from market_spine.notify.metrics import render

    output.write_bytes(render(db).encode())
