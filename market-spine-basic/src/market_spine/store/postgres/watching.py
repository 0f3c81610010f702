"""A connection that never waits for ever: it hears that the run is to stop, and notices that its server has gone.

A connection may freeze: a proxy, or a gateway that forgot it, acknowledges what we send and never answers. TCP cannot
tell that from a statement that takes long. So whoever has waited a while asks the server over another connection
what it is doing for this one: if that is nothing, or nobody answers, this one is given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar, cast

import psycopg
from psycopg import generators
from psycopg.pq import TransactionStatus

from market_spine import stopping
from market_spine.errors import Interrupted

T = TypeVar("T")

LOOK_AFTER = 10.0
"""Seconds without a word after which the server is asked what it is doing, and again after as many."""
ANSWER_WITHIN = 5.0
"""Seconds for that answer, and for a new connection."""
AVOIDED = 30.0
"""Seconds for which no new connection is tried where one has frozen."""
CANCEL_WITHIN = 0.3
"""Seconds for telling the server that a statement is not wanted any more."""
GRACE = 0.6
"""Seconds that a statement under way, or a new connection, still gets once the run is to stop."""

_ACTIVE = "SELECT state FROM pg_catalog.pg_stat_activity WHERE pid = %s"
_IDLE = ("idle", "idle in transaction", "idle in transaction (aborted)")
"""States of a server process that has answered, or never got, what we wait for."""

_frozen: dict[str, float] = {}
"""Server to when a connection to it froze last."""


class Described(NamedTuple):
    """A column of a statement: its name, the number of its type, and what narrows that."""

    name: str
    kind: int
    modifier: int


class Watched(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits are watched; made by ``opened``."""

    parameters: Mapping[str, str]
    server: str

    def wait(self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as psycopg does.

        Raises:
            Interrupted: the run is to stop; the statement is cancelled and the connection closed.
            psycopg.OperationalError: the connection has frozen; it is closed.
        """
        return super().wait(self._watch(gen), interval, timeout)

    def _watch(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        heard = time.monotonic()
        asked: float | None = None
        suspect = False
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    heard, asked, suspect = now, None, False
                elif stopping.asked():
                    asked = now if asked is None else asked
                    if now - asked >= GRACE:
                        self._cancel()
                        self.close()
                        raise Interrupted(
                            "stopped by a signal while waiting for the database",
                            hint="run again: what was done is kept",
                        )
                elif now - heard >= LOOK_AFTER:
                    at_work = self._is_at_work()
                    # An answer may have been on its way: only who is found idle twice has nothing more to say.
                    if not at_work and suspect:
                        _frozen[self.server] = now
                        self.close()
                        raise psycopg.OperationalError("the connection has frozen: the server is not at work for it")
                    suspect = not at_work
                    heard = now - LOOK_AFTER + 1.0 if suspect else time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            return cast("T", end.value)

    def _is_at_work(self) -> bool:
        """Whether the server says that it is busy with what we asked of it."""
        pid = self.info.backend_pid

        def look() -> list[tuple[Any, ...]]:
            with psycopg.connect("", autocommit=True, **self.parameters) as other:  # type: ignore[arg-type]
                return other.execute(_ACTIVE, (pid,)).fetchall()

        try:
            found = stopping.within(look, ANSWER_WITHIN)
        except (TimeoutError, psycopg.Error):
            return False
        except Interrupted:
            return True
        return bool(found) and found[0][0] not in _IDLE

    def _cancel(self) -> None:
        # The older way of libpq waits for ever, and holds up every thread.
        if self.pgconn.transaction_status == TransactionStatus.ACTIVE and psycopg.capabilities.has_cancel_safe():
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=CANCEL_WITHIN)

    def prepare_and_describe(self, sql: bytes) -> list[Described]:
        """The columns of a statement; it is only parsed. Raises psycopg.Error."""
        for send in (lambda: self.pgconn.send_prepare(b"", sql), lambda: self.pgconn.send_describe_prepared(b"")):
            result = self._result(send)
        return [
            Described((result.fname(number) or b"").decode(), result.ftype(number), result.fmod(number))
            for number in range(result.nfields)
        ]

    def run_one(self, sql: bytes) -> None:
        """Run a statement in the protocol that takes only one. Raises psycopg.Error."""
        self._result(lambda: self.pgconn.send_query_params(sql, None))

    def _result(self, send: Callable[[], None]) -> Any:
        send()
        (result,) = self.wait(generators.execute(self.pgconn))
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)
        return result

    @classmethod
    def opened(cls, parameters: Mapping[str, str], server: str) -> Watched:
        """A new connection in autocommit mode, within the time for one also if names are not looked up.

        Raises:
            psycopg.OperationalError: there is none to be had, or one to the server has just frozen.
            Interrupted: the run is to stop.
        """
        if time.monotonic() - _frozen.get(server, float("-inf")) < AVOIDED:
            raise psycopg.OperationalError("a connection to it has just frozen")

        def attempt() -> Watched:
            # Never prepared: the plans of a long-lived connection would outlive the views they read.
            return cls.connect("", autocommit=True, prepare_threshold=None, **parameters)  # type: ignore[arg-type]

        try:
            connection = stopping.within(attempt, float(parameters["connect_timeout"]) + ANSWER_WITHIN, grace=GRACE)
        except TimeoutError as error:
            raise psycopg.OperationalError("no connection was made in time") from error
        connection.parameters, connection.server = parameters, server
        return connection
