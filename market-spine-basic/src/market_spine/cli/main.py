"""The ``market-spine`` command, and the one place that turns outcomes into exit codes."""

from __future__ import annotations

import errno
import gc
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from market_spine import registry
from market_spine.cli import output
from market_spine.cli.attended import attend, is_limited
from market_spine.cli.options import require_value
from market_spine.errors import Interrupted, MarketSpineError, UsageError
from market_spine.settings import keep_freed_memory, variable
from market_spine.wording import nearest

if TYPE_CHECKING:
    from market_spine.app.scheduling import SchedulerResult

    Failed = Callable[[MarketSpineError, datetime, datetime], SchedulerResult]
    """Makes an error that came between two moments a result."""

_COMPLETE = "_MARKET_SPINE_COMPLETE"
"""Set by a shell that asks what could follow; click's name for it."""
FAILURE = 1
INTERRUPTED = 130

_COMMANDS = {
    "status": ("inspect", "Show the partition grid: failed, held, late, warned, revised, captured, ..."),
    "runs": ("inspect", "List past scheduler runs, newest first."),
    "ready": ("ready", "Say whether a domain is there for downstream jobs; exits with 1 while it is not."),
    "anomalies": ("inspect", "List anomalies, open ones by default; ack sets one aside."),
    "captures": ("captures", "List the captures of a partition."),
    "payload": ("captures", "Write the exact bytes of a capture to a file."),
    "diff": ("captures", "Show the rows in which two captures of a partition differ."),
    "changes": ("explain", "Show what was restated between two moments."),
    "explain": ("explain", "Show why a row is what it is: versions, source line, inputs."),
    "apply": ("apply", "Carry out the plan of a dry run, exactly as it was foreseen."),
    "accept": ("decide", "Let a capture through that a guard held, or that was retracted."),
    "retract": ("decide", "Take a capture back: its bytes were wrong."),
    "notify": ("notify", "Tell people of anomalies: what is due, or a test."),
    "metrics": ("metrics", "Write figures for Prometheus."),
    "calendar": ("calendar", "Show what is expected to be published next, and when."),
    "query": ("query", "Run read-only SQL, optionally as of a past moment."),
    "export": ("export", "Export every table and view, as of a moment, for other tools."),
    "publish": ("publish", "Bring a lake of every version of every row up to the latest commit."),
    "web": ("web", "Serve the console: pages over the store, in a browser."),
    "rebuild": ("rebuild", "Replay every commit of a database into a new one."),
    "doctor": ("doctor", "Check settings, keys, database, clock, disk, sources and calendar; say what to do."),
    "db": ("db", "Look after the database."),
}
"""Command to (module of this package, help): modules are imported when their command is used."""

_GROUPS = {
    "schedule": "Run a domain's scheduler.",
    "sample-data": "Write generated sample files of a domain.",
    "simulate": "Serve a simulated vendor or publisher for trying things out.",
}
"""Groups whose commands the installed domains bring."""


class ScheduleCommand(click.Command):
    """A scheduler's command: with ``--json`` a usage error, too, is answered in the contract.

    Of a ``scheduled`` one a health check hears, too: a job whose flags are wrong does not run.
    """

    def __init__(
        self,
        *args: Any,
        failure: Failed,
        function: Callable[..., SchedulerResult] | None = None,
        scheduled: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.failure = failure
        self.function = function
        self.scheduled = scheduled

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            require_value(ctx, parameter, ctx.params.get(parameter.name or ""))
        return rest


class Group(click.Group):
    """A group that offers the nearest of its commands for one that it lacks."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command '{name}'{nearest(name, self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


class _DomainGroup(Group):
    """A group with one command per domain that declares one, imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in registry.entries() if self.name in registry.load(name).commands()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in registry.entries():
            return None
        target = registry.load(cmd_name).commands().get(self.name or "")
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class _Root(Group):
    """The platform's own commands, each in a module that is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_GROUPS, *_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _GROUPS:
            return _DomainGroup(cmd_name, help=_GROUPS[cmd_name], no_args_is_help=True)
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"market_spine.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        rows = [*_GROUPS.items(), *((name, text) for name, (_, text) in _COMMANDS.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        output.write(f"market-spine {version('market-spine-basic')}")
        ctx.exit()


@click.command(cls=_Root, no_args_is_help=True)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def root() -> None:
    """Load market data on a schedule, notice restatements, and read any table as of any past moment."""


def run(command: click.Command, arguments: Sequence[str], name: str) -> int:
    """Run a command and answer with the process's exit code.

    0 success or dry run, 1 failure or usage error, 2 partial; 130 when interrupted outside a schedule.

    Args:
        command: returns its exit code, or None for 0.
        arguments: the arguments after the program's name.
        name: the program's name, for the help text.
    """
    # Python looks through everything for cycles to free, time and again: a tenth of a run that finds nothing changed.
    gc.set_threshold(50_000)
    keep_freed_memory()
    output.prepare_streams()
    if is_limited():
        return attend(
            lambda: _settled(command, arguments, name),
            lambda error: _fail(error, _schedule_of(command, arguments) or command, arguments),
        )
    return _settled(command, arguments, name)


def _settled(command: click.Command, arguments: Sequence[str], name: str) -> int:
    try:
        return _run(command, arguments, name)
    finally:
        output.settle()


def _run(command: click.Command, arguments: Sequence[str], name: str) -> int:
    # From here on SIGTERM is an interruption like Ctrl-C; a schedule listens to both itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _invoke(command, arguments, name)
    except OSError as error:
        # What happened to files is answered by now: what is left happened to stdout.
        sys.stdout = None  # closing it at exit would complain again
        # The reader of our stdout may go away early, as in `| head`.
        if not isinstance(error, BrokenPipeError):
            problem = {"message": f"stdout cannot be written: {error.strerror}", "hint": "free space, or redirect it"}
            output.write_error(problem, as_json=False)
        return FAILURE


def _invoke(command: click.Command, arguments: Sequence[str], name: str) -> int:
    as_json = "--json" in arguments
    try:
        code = command.main(
            args=list(arguments), prog_name=name, standalone_mode=False, help_option_names=["-h", "--help"]
        )
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        return FAILURE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        usage = context.command_path if context else name
        problem = UsageError(" ".join(error.format_message().split()), hint=f"see {usage} --help")
        return _fail(problem, context.command if context else command, arguments)
    except (click.Abort, KeyboardInterrupt):
        # A schedule that had not begun: afterwards it listens to signals itself.
        if as_json and (found := _schedule_of(command, arguments)):
            return _fail(Interrupted("stopped by a signal before the run began", hint="run again"), found, arguments)
        return INTERRUPTED
    except MarketSpineError as error:
        return _fail(error, command, arguments)
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of Polars is no Exception
        if isinstance(error, OSError) and error.filename is None and error.errno != errno.EMFILE:
            raise
        return _unforeseen(error, command, arguments)
    return code if isinstance(code, int) else 0


def _unforeseen(error: BaseException, command: click.Command, arguments: Sequence[str]) -> int:
    """Answer for an error that nobody foresaw: that the process lacks something, that a library is broken, a defect."""
    from market_spine.app.pipeline import unexpected

    problem = unexpected(error)
    if problem.kind == MarketSpineError.default_kind:
        with suppress(OSError):  # a stderr that cannot be written is no reason for another outcome
            traceback.print_exception(error)
    return _fail(problem, _schedule_of(command, arguments) or command, arguments)


def _schedule_of(command: click.Command, arguments: Sequence[str]) -> ScheduleCommand | None:
    """The schedule that the arguments name, if they name one."""
    found: click.Command | None = command
    for word in arguments:
        if not isinstance(found, click.Group):
            break
        found = found.get_command(click.Context(found), word)
    return found if isinstance(found, ScheduleCommand) else None


def _fail(error: MarketSpineError, command: click.Command, arguments: Sequence[str]) -> int:
    as_json = "--json" in arguments
    document = {"kind": error.kind, "message": error.message, "hint": error.hint}
    if not isinstance(command, ScheduleCommand):
        output.write_error(document, as_json=as_json)
        return FAILURE
    now = datetime.now(UTC)
    result = command.failure(error, now, now)
    if as_json:
        output.write_document(result.to_json())
    output.write_error(document, as_json=False)
    if command.scheduled and isinstance(error, UsageError):
        from market_spine.cli.telling import Telling

        Telling(scheduled=True, dry=any("dry-run" in word for word in arguments), begun=False).end(result)
    return FAILURE


def main() -> None:
    """Entry point of the console command."""
    if variable(_COMPLETE, ""):
        from market_spine.cli.completion import use_own_bash

        use_own_bash()
    output.leave(run(root, sys.argv[1:], "market-spine"))
