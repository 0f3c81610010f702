"""``market-spine notify``: tell what is due, or try whether messages arrive."""

from __future__ import annotations

import sys

import click

from market_spine.cli import output
from market_spine.cli.options import db_option, domain_option, json_option
from market_spine.errors import UsageError


@click.command()
@click.option("--test", is_flag=True, help="Send a message that says that it is a test, and record nothing.")
@domain_option
@db_option
@json_option
def notify(test: bool, domain: str | None, db: str | None, as_json: bool) -> int:
    """Tell whom the environment names what is due: schedulers do it as they end; docs/telling.md lists the variables.

    Exit code: 0 all arrived, or nothing was due; 1 a message did not arrive.
    """
    from market_spine import registry
    from market_spine.notify.alerts import Alerts, reminder
    from market_spine.notify.sinks import from_environment
    from market_spine.telemetry import configure_logging

    configure_logging("WARNING", as_text=sys.stderr.isatty())
    sinks = from_environment()
    if not sinks:
        raise UsageError(
            "nobody is to be told", hint="set ALERT_WEBHOOK_URL, ALERT_SLACK_URL, ALERT_COMMAND or ALERT_APPRISE_URLS"
        )
    alerts = Alerts(sinks, db, reminder())
    chosen = [registry.find(domain)] if domain else registry.domains()
    sent = alerts.test() if test else [each for one in chosen for each in alerts.latest(one.name)]
    rows = [
        {
            "sink": each.sink,
            "domain": each.domain,
            "events": len(each.items),
            "arrived": each.error is None,
            "error": None if each.error is None else each.error.message,
        }
        for each in sent
    ]
    if as_json:
        output.write_json(rows)
    elif rows:
        columns = tuple(rows[0])
        output.write_table(columns, [tuple(row.values()) for row in rows])
    else:
        output.write("nothing is due")
    return 0 if all(row["arrived"] for row in rows) else 1
