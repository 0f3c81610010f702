"""Which partitions of a domain are meant: an exact set of keys, and those in certain states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from market_spine.app.arguments import choices, refused
from market_spine.app.keys import Known, find_partition
from market_spine.app.states import State, states_of
from market_spine.core.domain import Domain
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader
from market_spine.errors import UsageError

if TYPE_CHECKING:
    from market_spine.app.shards import ShardOf


def exact(domain: Domain, keys: str | Sequence[str], known: Known) -> tuple[Partition, ...]:
    """The partitions that ``--partitions`` names, oldest first where the domain has an order.

    Args:
        domain: whose partitions they are.
        keys: partition keys as people type them, comma-separated or as a sequence.
        known: gives the keys that the store knows, which complete one that leaves something open.

    Raises:
        UsageError: a key is none of the domain's, or there is none.
    """
    texts = [text.strip() for text in (keys.split(",") if isinstance(keys, str) else keys)]
    try:
        found = dict.fromkeys(find_partition(domain, text, known) for text in texts if text)
    except UsageError as error:
        raise UsageError(f"--partitions: {error.message}", hint=error.hint) from error
    if not found:
        raise refused("--partitions", "", "partition keys, comma-separated")
    return tuple(sorted(found, key=lambda each: position(domain, each)))


def known_to(open_reader: Callable[[], Reader]) -> Known:
    """The keys that a store knows, read when they are needed and once."""

    @cache
    def known(name: str) -> Collection[str]:
        with closing(open_reader()) as store:
            return frozenset(store.partition_keys(name))

    return known


def position(domain: Domain, partition: Partition) -> int:
    """Where a partition comes in a plan, where the domain has an order."""
    place = domain.place(partition)
    return place.position if place else 0


def wanted_states(only: str | Sequence[str] | None) -> tuple[str, ...]:
    """The states that ``--only`` names; none without it."""
    return () if only is None else choices("--only", only, [*State])


def narrow(
    domain: Domain,
    partitions: Sequence[Partition],
    only: str | Sequence[str] | None,
    today: date,
    open_reader: Callable[[], Reader],
) -> tuple[Partition, ...]:
    """Those of the partitions that are in one of the states that ``--only`` names; all of them without it."""
    states = wanted_states(only)
    if not states:
        return tuple(partitions)
    with closing(open_reader()) as store:
        found = states_of(store, domain, today, partitions)
    return tuple(each for each, state in zip(partitions, found, strict=True) if state.state in states)


class Flags(Protocol):
    """The flags that every scheduler has."""

    @property
    def partitions(self) -> str | Sequence[str] | None: ...
    @property
    def only(self) -> str | Sequence[str] | None: ...
    @property
    def shard(self) -> str | None: ...


class Selected(Protocol):
    """What a scheduler selected by its own flags."""

    @property
    def partitions(self) -> Sequence[Partition]: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def narrowed_from(self) -> int | None:
        """How many there were before ``--only``, if the scheduler has applied it."""

    @property
    def share(self) -> ShardOf | None:
        """What they are a share of, if the scheduler has applied ``--shard``."""


def apply(
    domain: Domain, flags: Flags, selected: Selected, today: date, open_reader: Callable[[], Reader]
) -> dict[str, Any]:
    """What ``--partitions``, ``--shard`` and ``--only`` make of a selection, field by field.

    A share is taken first: which partitions it has never depends on the states that others have brought about.
    """
    states = wanted_states(flags.only)
    named = None if flags.partitions is None else exact(domain, flags.partitions, known_to(open_reader))
    config: dict[str, Any] = {**selected.config, **({"only": list(states)} if states else {})}
    if named is not None:
        config["partitions"] = [partition.key for partition in named]
    count, share = selected.narrowed_from, selected.share
    partitions = selected.partitions if named is None or count is not None else named
    asked = share.selected if share else len(partitions)
    if flags.shard is not None and share is None:
        from market_spine.app.shards import share_of

        partitions, share = share_of(partitions, flags.shard)
    if count is None:
        partitions, count = narrow(domain, partitions, flags.only, today, open_reader), asked
    warnings = selected.warnings
    if count and not partitions and not share:
        warnings += (f"None of the {count} selected partitions is {' or '.join(states)}.",)
    if share:
        warnings += (share.told(len(partitions)),)
    return {
        "partitions": partitions,
        "narrowed_from": count,
        "config": config,
        "warnings": warnings,
        "share": share,
    }
