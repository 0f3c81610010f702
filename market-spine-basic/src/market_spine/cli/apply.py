"""``market-spine apply``: carry out the plan that a dry run wrote, exactly, and refuse what has moved since."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from market_spine import registry
from market_spine.app.foreseen import Foreseen, Foresight
from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import ScheduleCommand
from market_spine.cli.options import Selecting, TrimmedPath, db_option, json_option
from market_spine.cli.outfile import STDOUT, refuse_existing, save
from market_spine.cli.schedule import LOG_LEVELS, execute
from market_spine.errors import UsageError
from market_spine.sources.redaction import redact

PLAN_VERSION = 1
_OWN = ("db", "workers", "executor", "mode", "only", "partitions")
"""Flags that a plan does not keep: an address may hold a password, and the rest is said by the plan."""


def make_plan(out: Path, overwrite: bool, domain: str, flags: Mapping[str, Any], schedule: Callable[..., int]) -> int:
    """Run a dry run and write its plan to a file; returns the exit code.

    Args:
        out: the file.
        overwrite: it may be there already.
        domain: the domain's short name.
        flags: the scheduler's, as given.
        schedule: calls it, given ``flags``, ``foresight`` and ``told``.
    """
    if flags["mode"] != "dry-run":
        raise UsageError("--out writes the plan of a dry run", hint="add --mode dry-run")
    if out == STDOUT:
        raise UsageError("--out - is stdout, where the result goes", hint="name a file")
    refuse_existing(out, overwrite=overwrite)
    for name, value in flags.items():
        if name not in _OWN and isinstance(value, str) and redact(value) != value:
            raise UsageError(
                f"--{name.replace('_', '-')} holds a secret, which no plan keeps", hint="give it by variable"
            )
    foresight = Foresight()

    def write(result: SchedulerResult) -> None:
        if result.error is None:
            text = json.dumps(_document(domain, flags, foresight, result), indent=2) + "\n"
            save(out, lambda file: file.write(text.encode()), overwrite=overwrite)

    return schedule(dict(flags), foresight=foresight, told=write)


def _document(domain: str, flags: Mapping[str, Any], foresight: Foresight, result: SchedulerResult) -> dict[str, Any]:
    keys = [key for key in dict.fromkeys(run.partition_key for run in result.runs) if key in foresight.partitions]
    # The days that decide what is due, and name the captures, are those of the plan.
    kept = {name: value for name, value in flags.items() if name not in _OWN} | {"run_date": result.config["run_date"]}
    return {
        "plan_version": PLAN_VERSION,
        "domain": domain,
        "made_at": datetime.now(UTC).isoformat(),
        "flags": kept,
        "partitions": [{"partition_key": key, **foresight.partitions[key]._asdict()} for key in keys],
        "result": json.loads(result.to_json()),
    }


def _failed(error: Any, started: datetime, finished: datetime) -> SchedulerResult:
    from market_spine.app.report import failed

    return failed("", "apply", error, started, finished)


@click.command(cls=ScheduleCommand, failure=_failed)
@click.argument("plan", type=TrimmedPath(path_type=Path, dir_okay=False))
@click.option("--workers", default="1", show_default=True, metavar="N", help="Partitions worked on at once.")
@click.option(
    "--log-level", default="INFO", show_default=True, type=click.Choice(LOG_LEVELS), help="Least level logged."
)
@db_option
@json_option
def apply(plan: Path, workers: str, log_level: str, db: str | None, as_json: bool) -> int:
    """Carry out the plan that `schedule ... --mode dry-run --out PLAN` wrote.

    A partition of which something was committed since, or whose source answers something else, is refused as
    plan_outdated; the others run.
    """
    document = _read(plan)
    command = _command(document["domain"])
    selecting = {each.name for each in command.params if isinstance(each, Selecting)}
    flags = {name: None if name in selecting else value for name, value in document["flags"].items()} | {
        "mode": "run",
        "db": db,
        "workers": workers,
    }
    foresight = Foresight(
        {each["partition_key"]: Foreseen(each["last_id"], each["answer"]) for each in document["partitions"]},
        binding=True,
        share={name: value for name, value in document["result"]["config"].items() if name in ("shard", "share")},
    )
    flags["partitions"] = list(foresight.partitions)
    assert command.function is not None
    return execute(command.function, command.failure, flags, as_json=as_json, log_level=log_level, foresight=foresight)


def _read(plan: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(plan.read_text(encoding="utf-8"))
        version = document["plan_version"]
        for each in document["partitions"]:
            Foreseen(int(each["last_id"]), str(each["answer"]))
        flags = dict(document["flags"])
    except OSError as error:
        raise UsageError(f"{plan} cannot be read: {error.strerror}", hint="name the file that --out wrote") from error
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{plan} is no plan", hint="make one with --mode dry-run --out") from error
    if version != PLAN_VERSION:
        raise UsageError(f"{plan} is a plan of version {version}", hint="make a new one with --mode dry-run --out")
    if not document["partitions"]:
        raise UsageError(f"{plan} holds no partition", hint="there is nothing to carry out")
    return {**document, "flags": flags}


def _command(domain: str) -> ScheduleCommand:
    module, _, attribute = registry.load(domain).commands()["schedule"].partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, ScheduleCommand)
    return command
