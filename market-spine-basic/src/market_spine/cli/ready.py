"""``market-spine ready``: the gate that downstream jobs wait on."""

from __future__ import annotations

from contextlib import closing

import click

from market_spine.cli import output
from market_spine.cli.options import db_option, json_option
from market_spine.errors import UsageError


@click.command()
@click.argument("domain")
@click.option("--week", metavar="DATE", help="The week that holds this day; default: what is published latest.")
@click.option("--session", metavar="DATE", help="The session that must be there; default: the latest that has ended.")
@click.option("--partitions", metavar="KEY,...", help="Exactly these partitions.")
@click.option("--tiers", metavar="TIER,...", help="Of a domain with tiers, these; default: all.")
@click.option("--require", metavar="[verified]", help="verified: also that totals of the source's own prove every row.")
@click.option("--as-of", metavar="MOMENT|CAPTURE", help="By what was known then.")
@click.option("--run-date", metavar="YYYY-MM-DD", help="Judge publication as of this day; default: that of --as-of.")
@db_option
@json_option
def ready(
    domain: str,
    week: str | None,
    session: str | None,
    partitions: str | None,
    tiers: str | None,
    require: str | None,
    as_of: str | None,
    run_date: str | None,
    db: str | None,
    as_json: bool,
) -> int:
    """Say whether DOMAIN is there for downstream jobs: captured, computed from that, and free of open errors.

    Exits with 0 if every partition is ready, else with 1 and the reasons.
    """
    from market_spine import registry
    from market_spine.app.arguments import choice, choices, day
    from market_spine.app.changes import moment_of
    from market_spine.app.keys import spelt_value
    from market_spine.app.ready import readiness
    from market_spine.app.selection import exact
    from market_spine.compose import market_day, reader

    found = registry.find(domain)
    ways = {"--week": week, "--session": session, "--partitions": partitions}
    used = [flag for flag, value in ways.items() if value is not None]
    if len(used) > 1 and used != ["--session", "--partitions"]:
        raise UsageError(f"{used[0]} and {used[1]} choose in two ways", hint="give one of them")
    verified = require is not None and choice("--require", require, ("verified",)) == "verified"
    with closing(reader(db)) as store:
        moment = moment_of(store, "--as-of", as_of) if as_of else None
        today = day("--run-date", run_date) if run_date else market_day(moment)
        wanted = day("--session", session) if session else day("--week", week) if week else None
        awaited = found.awaited(
            wanted, today, store.entry_counts(found.name, as_of=moment), whole_week=week is not None
        )
        chosen = awaited.partitions if partitions is None else exact(found, partitions, store.partition_keys)
        if tiers is not None:
            if "tier" not in found.partition_fields:
                raise UsageError(f"--tiers: {found.name} has no tiers", hint="leave it away")
            place = found.partition_fields.index("tier")
            there = sorted({each.values[place] for each in chosen})
            kept = choices("--tiers", tiers, there, lambda word: spelt_value(found, word, place))
            chosen = [each for each in chosen if each.values[place] in kept]
        told = readiness(store, found, chosen, today, day=awaited.day, verified=verified, as_of=moment)
    well = bool(told) and not any(each.reasons for each in told)
    if as_json:
        listed = [{**each._asdict(), "ready": not each.reasons} for each in told]
        document = {"domain": found.name, "as_of": moment.isoformat() if moment else None, "ready": well}
        output.write_json({**document, "partitions": listed})
    elif told:
        rows = [(each.partition_key, "ready" if not each.reasons else "; ".join(each.reasons)) for each in told]
        output.write_table(("partition", f"{found.name} is {'ready' if well else 'not ready'}"), rows)
    else:
        output.write(f"{found.name} is not ready: no partition of it is known")
    return 0 if well else 1
