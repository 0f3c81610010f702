"""What travels to workers elsewhere: small, and without any secret of the run."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from market_spine.app import runner
from market_spine.app.task import Run, Task
from market_spine.errors import MarketSpineError
from market_spine.execute import executor_of
from market_spine.execute.sealing import seal, unseal
from market_spine.store import parse_url
from spine.domains.finra.otc_transparency.scheduler import run_finra_schedule
from spine.domains.market_data.scheduler import run_prices_schedule

SECRETS = {
    "FINRA_CLIENT_ID": "the-client-of-finra",
    "FINRA_CLIENT_SECRET": "the-secret-of-finra",
    "ALPHA_VANTAGE_API_KEY": "THEKEYOFTHEVENDOR",
}
PASSWORD = "the-password-of-the-store"
DATABASE = f"postgresql://spine:{PASSWORD}@db.example:5432/spine?schema=weekly"


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sequence[Task]]:
    """The tasks that a schedule would work through, with everything that they share."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    def plan(schedule: Callable[..., Any], **flags: Any) -> Sequence[Task]:
        caught: list[Sequence[Task]] = []

        def catch(_run: Run, tasks: Sequence[Task], _store: object) -> Sequence[Task]:
            caught.append(tasks)
            raise MarketSpineError("seen enough")

        monkeypatch.setattr(runner, "_beside", catch)
        result = schedule(db=str(tmp_path / "spine.db"), run_date="2025-12-29", **flags)
        assert result.error is not None
        assert result.error.message == "seen enough"
        return caught[0]

    return plan


def on_postgres(run: Run) -> Run:
    """The run, with a PostgreSQL that has a password for its store."""

    def moved(opens: Any) -> Any:
        return type(opens)(opens.func, parse_url(DATABASE), *opens.args[1:], **opens.keywords)

    assert run.stores.writer is not None
    return run._replace(stores=run.stores._replace(reader=moved(run.stores.reader), writer=moved(run.stores.writer)))


@pytest.mark.parametrize(
    ("schedule", "flags"),
    [
        (run_finra_schedule, {"source": "api", "partitions": "2025-11-21|OTC", "executor": None, "workers": 2}),
        (run_prices_schedule, {"symbols": "AAPL", "source": "alpha_vantage"}),
    ],
)
def test_no_secret_travels(
    planned: Callable[..., Sequence[Task]],
    schedule: Callable[..., Any],
    flags: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither what workers share nor any task has a password or key; a worker has its own, or is refused."""
    tasks = planned(schedule, **flags)
    run = on_postgres(tasks[0].run)
    travels = seal(run) + b"".join(pickle.dumps(tuple(task)[1:]) for task in tasks)
    assert [each for each in (*SECRETS.values(), PASSWORD) if each.encode() in travels] == []
    with pytest.raises(MarketSpineError, match="the worker has no DATABASE_URL") as refused:
        unseal(seal(run))
    assert refused.value.kind == "worker_refused"
    monkeypatch.setenv("DATABASE_URL", DATABASE.replace("/spine?", "/other?"))
    with pytest.raises(MarketSpineError, match=r"another database than the run's: postgresql://spine@db\.example"):
        unseal(seal(run))
    monkeypatch.setenv("DATABASE_URL", DATABASE.replace("weekly", "daily"))
    with pytest.raises(MarketSpineError, match="another database"):
        unseal(seal(run))
    monkeypatch.setenv("DATABASE_URL", DATABASE.replace(PASSWORD, "workers-own"))
    opened = unseal(seal(run))
    assert opened.stores.writer is not None
    assert "workers-own" in repr(opened.stores.writer.args[0].parameters)  # type: ignore[attr-defined]
    for name in SECRETS:
        monkeypatch.delenv(name)
    with pytest.raises(MarketSpineError, match="the worker has no ") as lacking:
        unseal(seal(run))
    assert lacking.value.kind == "worker_refused"


def test_tasks_are_small_however_full_the_folder(planned: Callable[..., Sequence[Task]], tmp_path: Path) -> None:
    """Of 900 files in the folder a task carries none: it takes less than 2,000 bytes."""
    folder = tmp_path / "weekly"
    folder.mkdir()
    for week in range(300):
        for tier in ("nms_tier_1", "nms_tier_2", "otc"):
            (folder / f"{tier}_week_{date(2025, 11, 21) - timedelta(weeks=week)}.csv").touch()
    tasks = planned(run_finra_schedule, source="file", data_dir=str(folder), weeks="all")
    assert len(tasks) == 900
    assert max(len(pickle.dumps(tuple(task)[1:])) for task in tasks) < 2_000
    assert len(seal(tasks[0].run)) > 50_000


@pytest.mark.parametrize(
    ("executor", "flags", "words"),
    [
        ("spark", {}, "dask or dask://HOST:PORT"),
        ("dask://somewhere", {}, "dask or dask://HOST:PORT"),
        ("dask://u:p@host:8786", {}, "dask or dask://HOST:PORT"),
        ("dask://host:8786", {}, "cannot write to an SQLite file"),
        ("dask://host:8786", {"workers": 3}, "have slots of their own"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, executor: str, flags: dict[str, Any], words: str) -> None:
    """An executor that is none, SQLite with workers elsewhere, and --workers there: usage errors that say why."""
    (tmp_path / "otc_week_2025-11-21.csv").write_text("x")
    store = str(tmp_path / "spine.db")
    result = run_finra_schedule(
        weeks="2025-11-21", data_dir=str(tmp_path), db=store, run_date="2025-12-29", executor=executor, **flags
    )
    assert result.error is not None
    assert result.error.kind == "usage"
    assert words in f"{result.error.message} {result.error.hint}"
    assert not (tmp_path / "spine.db").exists()


@pytest.mark.parametrize(
    ("folder", "words"), [("data/finra", "is relative"), ("s3://key:word@bucket/finra", "has a login")]
)
def test_folders_that_workers_elsewhere_lack_are_refused(
    planned: Callable[..., Sequence[Task]], tmp_path: Path, folder: str, words: str
) -> None:
    """A relative data folder, or one whose address has a login, is refused with workers elsewhere."""
    (tmp_path / "otc_week_2025-11-21.csv").write_text("x")
    task = planned(run_finra_schedule, weeks="2025-11-21", data_dir=str(tmp_path))[0]
    from market_spine.app.report import Plan
    from spine.domains.finra.otc_transparency.source import FileSource

    plan = Plan(task.run._replace(source=FileSource(folder)), [task.partition])
    with pytest.raises(MarketSpineError, match=words), executor_of("dask://host:8786", plan, parse_url(DATABASE)):
        pass


def test_a_plain_install_says_which_extra_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Dask the error names the extra."""
    monkeypatch.setattr("market_spine.execute.find_spec", lambda _name: None)
    (tmp_path / "otc_week_2025-11-21.csv").write_text("x")
    store = str(tmp_path / "spine.db")
    result = run_finra_schedule(
        weeks="2025-11-21", data_dir=str(tmp_path), db=store, run_date="2025-12-29", executor="dask"
    )
    assert result.error is not None
    assert (result.error.kind, result.error.hint) == ("missing_extra", "pip install 'market-spine-basic[dask]'")
