"""``market-spine calendar``: what is expected to be published next."""

from __future__ import annotations

from itertools import groupby

import click

from market_spine.cli import output
from market_spine.cli.options import domain_option, json_option


@click.command()
@click.option("--count", default=12, show_default=True, type=click.IntRange(min=1), help="Partitions per domain.")
@click.option("--run-date", metavar="YYYY-MM-DD", help="Look ahead from this day; default: today in New York.")
@domain_option
@json_option
def calendar(count: int, run_date: str | None, domain: str | None, as_json: bool) -> None:
    """Show the next partitions to be published and the day each is expected, soonest first."""
    from market_spine import registry
    from market_spine.app.arguments import day
    from market_spine.compose import market_day

    today = day("--run-date", run_date) if run_date else market_day()
    chosen = [registry.find(domain)] if domain else registry.domains()
    expected = [
        (each.name, on, partition.key)
        for each in chosen
        for partition in each.upcoming(today, count)
        if (on := each.publication_day(partition))
    ]
    if as_json:
        output.write_json(
            [
                {"domain": name, "expected": expected_on.isoformat(), "partition_key": key}
                for name, expected_on, key in expected
            ]
        )
        return
    for name, rows in groupby(expected, key=lambda each: each[0]):
        output.write(f"{name} from {today}")
        output.write_table(("expected", "partition"), [(f"{on:%a} {on}", key) for _, on, key in rows])
