"""What one console serves, and to whom."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec

from market_spine.core.domain import Domain
from market_spine.core.ports import Clock
from market_spine.errors import MarketSpineError
from market_spine.store import StoreUrl
from market_spine.web.identity import Identity
from market_spine.web.jobs import Desk
from market_spine.web.memory import Recollection

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
"""Names of this very machine."""

_NEEDED = ("starlette", "jinja2", "uvicorn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """Everything that the pages need to know.

    Attributes:
        url: the store.
        domains: short name to domain, in the order of the pages.
        clock: tells the moment; its day in New York judges what is due.
        hosts: the names by which the console may be asked for, without ports.
        identity: tells who asks.
        sql: whether SQL is answered.
        desk: starts what pages may start; None: they start nothing.
        threads: requests answered at once; further ones wait.
        memory: what pages have read of the store.
    """

    url: StoreUrl
    domains: dict[str, Domain]
    clock: Clock
    identity: Identity
    hosts: frozenset[str] = LOOPBACK
    sql: bool = True
    desk: Desk | None = None
    threads: int = 4
    memory: Recollection = field(default_factory=Recollection, repr=False)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @property
    def all_domains(self) -> Sequence[Domain]:
        """The domains without their short names."""
        return tuple(self.domains.values())

    def now(self) -> datetime:
        """The moment, UTC."""
        return self.clock()


def require() -> None:
    """Raise MarketSpineError, kind ``missing_extra``, if the packages of the extra are not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MarketSpineError(
            f"the console needs {', '.join(missing)}, which is not installed",
            kind="missing_extra",
            hint="pip install 'market-spine-basic[web]'",
        )
