"""The results of all shards of a selection, and of the calculations after them, as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from market_spine.app.report import UNCHANGED, counted
from market_spine.app.scheduling import (
    PipelineRun,
    RunStatus,
    SchedulerResult,
    SchedulerStatus,
    SkipReason,
    decide_status,
)
from market_spine.app.selection import position
from market_spine.app.shards import Shard, ShardOf, parse_shard
from market_spine.core.anomaly import Anomaly
from market_spine.core.domain import Domain
from market_spine.core.manifest import CALC
from market_spine.errors import UsageError

_ALIKE = ("mode", "only_stage", "only")
"""What all shards of one piece of work were told alike."""
_OWN = ("shard", "share")


class Merged(NamedTuple):
    """One of the results: what it was named by, and of a shard which and what of."""

    name: str
    result: SchedulerResult
    of: ShardOf | None
    planned: int = 0

    @property
    def called(self) -> str:
        """What a message calls it."""
        return f"{self.name} (shard {self.of.shard})" if self.of else self.name


def merged(named: Sequence[tuple[str, SchedulerResult]], domain: Domain) -> SchedulerResult:
    """One result of those of all shards and, if it is among them, of the run that calculated after them.

    Args:
        named: each result, by the file or run that it came from.
        domain: whose they are.

    Raises:
        UsageError: one is missing, there twice, or of something else.
    """
    parts = [_part(name, result) for name, result in named]
    shards = sorted((each for each in parts if each.of), key=lambda each: each.of.shard.index if each.of else 0)
    after = [each for each in parts if not each.of]
    _refuse_others(parts)
    _refuse_gaps(shards)
    warnings = _apart(shards)
    _refuse_strangers(shards)
    _refuse_early(shards, after)
    return _united(shards, after, domain, warnings)


def _part(name: str, result: SchedulerResult) -> Merged:
    config = result.config
    if "share" not in config:
        if config.get("only_stage") == CALC:
            return Merged(name, result, None)
        raise UsageError(
            f"{name} is the result of no shard", hint="give those of --shard, and of the --only-stage calc after them"
        )
    try:
        share = config["share"]
        of = ShardOf(parse_shard(config["shard"]), int(share["selected"]), str(share["selection"]))
        return Merged(name, result, of, int(share["planned"]))
    except (LookupError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise UsageError(
            f"{name}: its config does not say which shard it is", hint="give a result as written"
        ) from error


def _refuse_others(parts: Sequence[Merged]) -> None:
    """All are of one domain, scheduler and mode."""
    for what in ("domain", "scheduler"):
        _refuse_unequal([(each, getattr(each.result, what)) for each in parts], what)
    _refuse_unequal([(each, each.result.config.get("mode")) for each in parts], "mode")
    for what in _ALIKE:
        _refuse_unequal([(each, each.result.config.get(what)) for each in parts if each.of], what)


def _refuse_unequal(values: Sequence[tuple[Merged, Any]], what: str) -> None:
    for part, value in values:
        first, expected = values[0]
        if value != expected:
            raise UsageError(
                f"{first.called} and {part.called} are of another {what}: {expected} and {value}",
                hint="merge results of one piece of work",
            )


def _refuse_gaps(shards: Sequence[Merged]) -> None:
    """Each shard is there, once."""
    found: dict[Shard, Merged] = {}
    for part in shards:
        assert part.of is not None
        if (other := found.setdefault(part.of.shard, part)) is not part:
            raise UsageError(
                f"shard {part.of.shard} is there twice: {other.name} and {part.name}", hint="give the later one alone"
            )
    if not found:
        raise UsageError("there is the result of no shard", hint="give those of all shards")
    _refuse_unequal([(part, shard.count) for shard, part in found.items()], "number of shards")
    count = next(iter(found)).count
    missing = [str(Shard(index, count)) for index in range(count) if Shard(index, count) not in found]
    if missing:
        raise UsageError(
            f"the result of shard {' and '.join(missing)} is missing",
            hint="give those of all shards; run what did not run",
        )


def _apart(shards: Sequence[Merged]) -> list[str]:
    """What to tell of shards that were not taken of the same partitions; refused where no midnight explains it."""
    first, *others = shards
    for part in others:
        assert first.of is not None
        assert part.of is not None
        if part.of.selection == first.of.selection:
            continue
        days = [each.result.config.get("run_date") for each in (first, part)]
        counts = f"{first.of.selected} and {part.of.selected} partitions"
        if days[0] == days[1]:
            raise UsageError(
                f"{first.called} and {part.called} are shares of different selections, of {counts}",
                hint="run the shards again that were told something else",
            )
        return [
            f"Shards {first.of.shard} and {part.of.shard} were planned on {days[0]} and {days[1]}, of {counts}: what"
            " only one of the days selects may have been left out, and is the next run's."
        ]
    return []


def _refuse_strangers(shards: Sequence[Merged]) -> None:
    """Each partition stands in the result of the shard that has it, so in no two."""
    for part in shards:
        assert part.of is not None
        keys = {run.partition_key for run in part.result.runs}
        for key in sorted(keys):
            if not part.of.shard.has(key):
                raise UsageError(
                    f"{part.called} holds {key}, which belongs to another shard", hint="give it as written"
                )
        if len(keys) != part.result.stats.attempted:
            raise UsageError(
                f"{part.called} counts {part.result.stats.attempted} partitions, and its runs are of {len(keys)}",
                hint="give it as written",
            )


def _refuse_early(shards: Sequence[Merged], after: Sequence[Merged]) -> None:
    if len(after) > 1:
        raise UsageError(
            f"{after[0].name} and {after[1].name} both are of --only-stage calc", hint="give the later one"
        )
    for calc in after:
        for part in shards:
            if calc.result.started_at < part.result.finished_at:
                raise UsageError(
                    f"{calc.name} began before {part.called} had ended",
                    hint="run --only-stage calc again and give that",
                )


def _united(shards: Sequence[Merged], after: Sequence[Merged], domain: Domain, warnings: list[str]) -> SchedulerResult:
    parts = [*shards, *after]
    by_key: dict[str, list[PipelineRun]] = {}
    for part in shards:
        for run in part.result.runs:
            by_key.setdefault(run.partition_key, []).append(run)
    order = {key: (position(domain, domain.partition(key)), key) for key in by_key}
    own = [run for key in sorted(by_key, key=order.__getitem__) for run in by_key[key]]
    later = [run for part in after for run in part.result.runs if run.reason not in UNCHANGED]
    stats, unchanged = counted(by_key, own, later, set(by_key))
    first = shards[0]
    assert first.of is not None
    errors = [(part, part.result.error) for part in parts if part.result.error]
    status = decide_status(
        stats,
        unchanged=unchanged,
        window_failed=any(run.status is RunStatus.FAILED and run.partition_key not in by_key for run in later),
        critical=bool(errors),
        undone=any(map(_is_undone, parts)),
        dry_run=first.result.config.get("mode") == "dry-run",
        idle=first.of.selected > 0,
    )
    return SchedulerResult(
        schema_version=first.result.schema_version,
        domain=first.result.domain,
        scheduler=first.result.scheduler,
        started_at=min(part.result.started_at for part in parts),
        finished_at=max(part.result.finished_at for part in parts),
        status=status,
        stats=stats,
        runs=(*own, *later),
        anomalies=_told(part.result.anomalies for part in parts),
        warnings=tuple(dict.fromkeys([*warnings, *_warned(shards, after), *_said(errors[1:])])),
        config=_config(parts),
        next_publication=min((day for part in parts if (day := part.result.next_publication)), default=None),
        error=errors[0][1] if errors else None,
    )


def _is_undone(part: Merged) -> bool:
    """Whether planned work was left, as far as its result says."""
    result = part.result
    if any(run.reason == SkipReason.LOCKED for run in result.runs):
        return True
    failed = result.error is not None or any(run.status is RunStatus.FAILED for run in result.runs)
    left = result.stats.attempted < part.planned and not result.config.get("fail_fast")
    return left or (result.status in (SchedulerStatus.PARTIAL, SchedulerStatus.FAILURE) and not failed)


def _warned(shards: Sequence[Merged], after: Sequence[Merged]) -> Iterable[str]:
    """The warnings of all; that windows are left to another run only where that is not among them."""
    for part in shards:
        own = part.of.told(part.planned) if part.of else ""
        yield from (text for text in part.result.warnings if text != own)
    for part in after:
        yield from part.result.warnings
    if not after:
        yield "No result of --only-stage calc is among these: windows, and comparisons with neighbours, are left to it."


def _said(errors: Iterable[tuple[Merged, Any]]) -> Iterable[str]:
    return (f"{part.called}: {error.message}" for part, error in errors)


def _told(anomalies: Iterable[Sequence[Anomaly]]) -> tuple[Anomaly, ...]:
    """Each anomaly once, as it was told first."""
    found: dict[tuple[str, str], Anomaly] = {}
    for anomaly in (each for several in anomalies for each in several):
        found.setdefault((anomaly.partition_key, anomaly.kind), anomaly)
    return tuple(found.values())


def _config(parts: Sequence[Merged]) -> Mapping[str, Any]:
    """What was in effect for all shards, and under ``merged`` each result with what was in effect for it alone."""
    configs = [part.result.config for part in parts if part.of]
    common = {
        name: value
        for name, value in configs[0].items()
        if name not in _OWN and all(config.get(name) == value for config in configs)
    }

    def of(part: Merged) -> dict[str, Any]:
        result = part.result
        counts = {"attempted": result.stats.attempted, "failed": result.stats.failed}
        different = {name: value for name, value in result.config.items() if common.get(name) != value}
        return {"from": part.name, "run_id": result.run_id, "status": result.status.value, **counts, **different}

    return {**common, "merged": [of(part) for part in parts]}
