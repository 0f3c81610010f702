"""A run as it travels to workers: pickled without secrets, which workers have from their own environment."""

from __future__ import annotations

import io
import pickle
from typing import Any

from market_spine import settings
from market_spine.app.task import Run
from market_spine.errors import MarketSpineError, UsageError
from market_spine.settings import Secret
from market_spine.sources.redaction import redact
from market_spine.store import StoreUrl, parse_url

WORKER_REFUSED = "worker_refused"
_STORE, _SECRET = "store", "secret"


class _Sealer(pickle.Pickler):
    def persistent_id(self, obj: Any) -> tuple[str, str] | None:
        if isinstance(obj, StoreUrl) and obj.kind == "postgresql":
            return _STORE, obj.digest
        if isinstance(obj, Secret):
            return _SECRET, obj.name
        if type(obj) is str and "://" in obj and redact(obj) != obj:
            raise UsageError(
                "--executor: an address among the settings has a login, which would travel with the work",
                hint="give workers credentials by their environment",
            )
        return None


class _Opener(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        kind, name = pid
        return _own_store(name) if kind == _STORE else _own_secret(name)


def seal(run: Run) -> bytes:
    """What is shared by the partitions of a run, without its database's address, password and keys.

    Raises:
        UsageError: an address with a login is part of it.
    """
    file = io.BytesIO()
    _Sealer(file, pickle.HIGHEST_PROTOCOL).dump(run)
    return file.getvalue()


def unseal(sealed: bytes) -> Run:
    """The run, with this process's own database and keys.

    Raises:
        MarketSpineError: kind ``worker_refused`` where they are not there, or the database is another one.
    """
    run: Run = _Opener(io.BytesIO(sealed)).load()
    return run


def _own_store(digest: str) -> StoreUrl:
    own = settings.variable("DATABASE_URL", "")
    if not own:
        raise MarketSpineError(
            "the worker has no DATABASE_URL", hint="start workers with the run's DATABASE_URL", kind=WORKER_REFUSED
        )
    store = parse_url(settings.database(None).url)
    if store.kind != "postgresql" or store.digest != digest:
        raise MarketSpineError(
            f"the worker's DATABASE_URL is another database than the run's: {store.display}"
            + (f", schema {store.schema}" if store.schema else ""),
            hint="start workers with the run's DATABASE_URL, spelt alike but for the password, and its schema",
            kind=WORKER_REFUSED,
        )
    return store


def _own_secret(name: str) -> Secret:
    if not (own := settings.secret(name)):
        raise MarketSpineError(
            f"the worker has no {name}", hint="start workers with the keys of the run", kind=WORKER_REFUSED
        )
    return Secret(own, name)
