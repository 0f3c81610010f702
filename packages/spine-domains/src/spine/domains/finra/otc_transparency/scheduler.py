"""The weekly scheduler: puts FINRA's files or API, the store and the clock together and answers with the contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from market_spine.app.arguments import choice, choices, day_or_weeks_back, days, whole_number
from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks, Request, Selection, run_schedule, telling
from market_spine.core.domain import Publication
from market_spine.core.partition import Partition
from market_spine.core.ports import Reader
from market_spine.core.sizes import MAX_FILE_BYTES
from market_spine.errors import UsageError
from market_spine.settings import secret, size, trimmed, variable
from market_spine.sources.files import Folder
from market_spine.sources.redaction import redact
from spine.domains.finra.otc_transparency import DOMAIN
from spine.domains.finra.otc_transparency import partitions as weekly
from spine.domains.finra.otc_transparency.schema import TIERS
from spine.domains.finra.otc_transparency.source import FileSource

if TYPE_CHECKING:
    from market_spine.sources.ahead import FetchAhead
    from spine.domains.finra.otc_transparency.api.client import ApiConfig
    from spine.domains.finra.otc_transparency.api.source import ApiSource

MAX_LOOKBACK_WEEKS = 12
SOURCE_VARIABLE = "FINRA_SOURCE"
SOURCES = ("file", "api")
DATA_DIR = "data/finra"
"""Where files are looked for by default."""
WEEKS = "dates as YYYY-MM-DD, comma-separated, or all"
ALL_WEEKS = "all"


def run_finra_schedule(
    *,
    lookback_weeks: int | str = 4,
    weeks: str | Sequence[str | date] | None = None,
    first: str | date | None = None,
    last: str | date | None = None,
    partitions: str | Sequence[str] | None = None,
    only: str | Sequence[str] | None = None,
    shard: str | None = None,
    tiers: str | Sequence[str] | None = None,
    source: str | None = None,
    mode: str = "run",
    force: bool = False,
    only_stage: str = "all",
    fail_fast: bool = False,
    db: str | None = None,
    data_dir: str | None = None,
    run_date: str | date | None = None,
    workers: int | str = 1,
    executor: str | None = None,
    hooks: Hooks | None = None,
) -> SchedulerResult:
    """Load FINRA's weekly data of the chosen weeks and tiers. Never raises.

    Args:
        lookback_weeks: latest published weeks per tier, at most 12 unless ``force``.
        weeks: explicit weeks instead, any date in each; comma-separated text or a sequence. Also ``all``: whatever
            the folder or FINRA's API has.
        first: every week from this day's on instead (``--from``); also such as ``26w``, back from today.
        last: the last of them (``--to``); by default the latest that each tier has published.
        partitions: exactly these partitions instead, by their keys.
        only: of what is selected, the partitions in these states of the grid.
        shard: of what is selected, share ``I/N``, I from 0, chosen by the keys of partitions; computes no windows.
        tiers: NMS_TIER_1, NMS_TIER_2, OTC; all by default.
        source: ``file``, or ``api`` for FINRA's Query API (``FINRA_API_URL``, ``FINRA_TOKEN_URL``; anonymous
            unless ``FINRA_CLIENT_ID`` and ``FINRA_CLIENT_SECRET`` are set); else ``FINRA_SOURCE``, else ``file``.
        mode: ``run``, or ``dry-run``, which plans and writes nothing.
        force: ignore revision detection, guards and the largest lookback.
        only_stage: ``ingest``, ``normalize``, ``calc`` or ``all``.
        fail_fast: start no further partition after the first failure.
        db: path or URL; else ``DATABASE_URL``, else ``data/market_spine.db``.
        data_dir: folder of the files, a path or fsspec URL; else ``FINRA_DATA_DIR``, else ``data/finra``.
        run_date: plan and name captures as of this day; default: today in New York.
        workers: partitions worked on at once.
        executor: ``dask``, a local cluster of processes, or ``dask://HOST:PORT``, a scheduler; else this process.
        hooks: clock, stop and progress; by default the real clock and nothing else.
    """
    chosen = _Weeks(lookback_weeks, weeks, first, last, partitions, tiers, force)
    wanted = _Wanted(chosen, only, shard, source, force, only_stage, data_dir, workers, executor, [])
    request = Request(mode, force, only_stage, fail_fast, db, run_date, workers, partitions, only, shard, executor)
    result = run_schedule(DOMAIN, request, wanted.select, hooks or Hooks())
    for each in wanted.opened:
        each.close()
    return result


class _Weeks(NamedTuple):
    """The flags that choose weeks and tiers, as given."""

    lookback_weeks: int | str
    weeks: str | Sequence[str | date] | None
    first: str | date | None
    last: str | date | None
    partitions: str | Sequence[str] | None
    tiers: str | Sequence[str] | None
    force: bool

    def plan(
        self,
        today: date,
        available: Callable[[], Sequence[Partition]],
        open_reader: Callable[[], Reader],
        config: dict[str, Any],
    ) -> weekly.WeekPlan:
        """The partitions; ``config`` is filled with what the result tells of the choice.

        Args:
            today: New York date, or ``--run-date``.
            available: lists all there is, for ``--weeks all``.
            open_reader: opens the store.
        """
        self._refuse_two_ways()
        wanted = whole_number("--lookback-weeks", self.lookback_weeks, least=1)
        everything = isinstance(self.weeks, str) and self.weeks.strip().lower() == ALL_WEEKS
        explicit = days("--weeks", self.weeks, WEEKS) if self.weeks is not None and not everything else ()
        warnings: list[str] = []
        if wanted > MAX_LOOKBACK_WEEKS and not self.force:
            warnings.append(f"Lookback {wanted} exceeds max {MAX_LOOKBACK_WEEKS}, clamped. Use --force to override.")
            wanted = MAX_LOOKBACK_WEEKS
        chosen = choices("--tiers", self.tiers, TIERS, weekly.find_tier)
        config |= {
            "lookback_weeks": wanted,
            "weeks": sorted({weekly.week_ending_of(day).isoformat() for day in explicit}),
            "tiers": list(chosen),
        }
        if everything:
            config["weeks"] = [ALL_WEEKS]
            plan = weekly.WeekPlan(tuple(each for each in available() if each.values[1] in chosen))
        elif self.first is not None:
            first = day_or_weeks_back("--from", self.first, today)
            last = None if self.last is None else day_or_weeks_back("--to", self.last, today)
            config |= {"from": first.isoformat(), "to": last.isoformat() if last else None}
            plan = weekly.between(today, first, last, chosen)
        elif self.partitions is not None:
            from market_spine.app.selection import exact, known_to

            plan = weekly.WeekPlan(tuple(weekly.in_order(exact(DOMAIN, self.partitions, known_to(open_reader)))))
        else:
            plan = weekly.plan(today, wanted, explicit, chosen)
        return plan._replace(warnings=(*warnings, *plan.warnings))

    def _refuse_two_ways(self) -> None:
        if self.last is not None and self.first is None:
            raise UsageError("--to needs --from", hint="name the first week with --from")
        ways = {"--partitions": self.partitions, "--weeks": self.weeks, "--from": self.first}
        used = [flag for flag, value in ways.items() if value is not None]
        used += ["--tiers"] if self.partitions is not None and self.tiers is not None else []
        if len(used) > 1:
            raise UsageError(f"{used[0]} and {used[1]} choose in two ways", hint="give one of them")


class _Wanted(NamedTuple):
    """The flags that choose partitions and their source, as given; and the sources opened for them."""

    weeks: _Weeks
    only: str | Sequence[str] | None
    shard: str | None
    source: str | None
    force: bool
    only_stage: str
    data_dir: str | None
    workers: int | str
    executor: str | None
    opened: list[ApiSource | FetchAhead]

    def select(self, today: date, open_reader: Callable[[], Reader]) -> Selection:
        """Choose; raises UsageError for a flag that cannot be used as given."""
        config: dict[str, Any] = {}
        with telling(config):
            return self._select(today, open_reader, config)

    def _select(self, today: date, open_reader: Callable[[], Reader], config: dict[str, Any]) -> Selection:
        source = choose_source(self.source)
        if source == "file":
            data_dir = trimmed("--data-dir", self.data_dir or "") or variable("FINRA_DATA_DIR", DATA_DIR)
            config.update(source=source, data_dir=Folder(data_dir).shown)
            folder = FileSource(data_dir, size("FINRA_MAX_FILE", MAX_FILE_BYTES))
            plan = self.weeks.plan(today, self._available(folder.available, open_reader), open_reader, config)
            unknown = folder.unrecognised()
            told = f"Files whose names say no tier and week were left out: {', '.join(unknown)}."
            return Selection(plan.partitions, folder, (*plan.warnings, *([told] if unknown else [])), config)
        api = _api(today, force=self.force)
        self.opened.append(api)
        config.update(source=source, api_url=redact(api.config.url))
        plan = self.weeks.plan(today, self._available(api.available, open_reader), open_reader, config)
        left, share = plan.partitions, None
        if self.shard is not None:
            from market_spine.app.shards import share_of

            left, share = share_of(left, self.shard)
        if self.only is not None:
            from market_spine.app.selection import narrow

            left = narrow(DOMAIN, left, self.only, today, open_reader)
        asked: ApiSource | FetchAhead = api
        # With several workers the network is busy anyhow.
        if self.executor is None and whole_number("--workers", self.workers, least=1) == 1:
            asked = self.opened[0] = _ahead(api, left, open_reader)
        return Selection(left, asked, plan.warnings, config, narrowed_from=len(plan.partitions), share=share)

    def _available(
        self, offered: Callable[[], list[Partition]], open_reader: Callable[[], Reader]
    ) -> Callable[[], list[Partition]]:
        """How to list all there is: what the source offers, or where it is not asked what the store has."""
        return offered if self.only_stage in ("all", "ingest") else partial(_known, open_reader)


def choose_source(flag: str | None) -> str:
    """The source that the flag names, else the environment, else files."""
    if flag is not None:
        return choice("--source", flag, SOURCES)
    return choice(SOURCE_VARIABLE, variable(SOURCE_VARIABLE, SOURCES[0]), SOURCES)


def _ahead(api: ApiSource, plan: Sequence[Partition], open_reader: Callable[[], Reader]) -> FetchAhead:
    """The API, asked ahead for the partitions that are published."""
    from market_spine.sources.ahead import FetchAhead

    expected = [each for each in plan if weekly.publication(each, api.today) is not Publication.NOT_DUE]
    with closing(open_reader()) as store:
        known = store.known(DOMAIN.name, [each.key for each in expected])
    return FetchAhead(api, expected, known)


def _api(today: date, *, force: bool) -> ApiSource:
    """The API that the environment names."""
    from spine.domains.finra.otc_transparency.api.source import ApiSource

    return ApiSource(today, api_config(), force)


def api_config() -> ApiConfig:
    """The API that the environment names, asked with its credentials or anonymously; raises UsageError."""
    from spine.domains.finra.otc_transparency.api.client import API_URL, TOKEN_URL, ApiConfig

    client_id, client_secret = secret("FINRA_CLIENT_ID"), secret("FINRA_CLIENT_SECRET")
    if bool(client_id) != bool(client_secret):
        missing = "FINRA_CLIENT_SECRET" if client_id else "FINRA_CLIENT_ID"
        raise UsageError(
            f"{missing} is not set, though its counterpart is",
            hint="set both (or both *_FILE), or neither: the data is open to everybody",
        )
    return ApiConfig(
        variable("FINRA_API_URL", API_URL), variable("FINRA_TOKEN_URL", TOKEN_URL), client_id, client_secret
    )


def _known(open_reader: Callable[[], Reader]) -> list[Partition]:
    """Every partition that the store has, oldest week first: all that a later stage can work on."""
    with closing(open_reader()) as store:
        return weekly.in_order(DOMAIN.partition(key) for key in store.partition_keys(DOMAIN.name))
