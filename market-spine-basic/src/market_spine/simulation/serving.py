"""Serving a simulator on 127.0.0.1: as a command until it is told to stop, or beside a test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from market_spine.errors import MarketSpineError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp
    from uvicorn import Server

HOST = "127.0.0.1"
_START_SECONDS = 30.0
_BACKLOG = 128


def require() -> None:
    """Raise MarketSpineError, kind ``missing_extra``, if the packages of the extra are not installed."""
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise MarketSpineError(
            "the simulators need Starlette and uvicorn, which are not installed",
            kind="missing_extra",
            hint="pip install 'market-spine-basic[simulate]'",
        )


def serve(app: ASGIApp, *, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then let the answers in hand finish and return.

    Args:
        app: the simulator.
        port: 0 for any free one.
        announce: is told the address, such as ``http://127.0.0.1:8900``, as soon as it can be used.

    Raises:
        UsageError: if the port cannot be used.
    """
    listener = _listen(port)
    _server(app, lambda: announce(_address(listener))).run(sockets=[listener])


@contextmanager
def running(app: ASGIApp, *, port: int = 0) -> Iterator[str]:
    """Serve on another thread while inside; yields the address.

    Raises:
        UsageError: if the port cannot be used.
        MarketSpineError: if the server does not start.
    """
    listener = _listen(port)
    started = threading.Event()
    server = _server(app, started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True, name="simulator")
    thread.start()
    try:
        if not started.wait(_START_SECONDS):
            raise MarketSpineError("the simulator did not start")
        yield _address(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _address(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


def _listen(port: int) -> socket.socket:
    # With the protocol named, asyncio switches off Nagle's delay on the connections it accepts.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        # From here on a client that connects waits for us instead of being refused.
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"--port: {port} cannot be used: {error}", hint="choose another port, or 0 for any free one"
        ) from error
    return listener


def _server(app: ASGIApp, started: Callable[[], None]) -> Server:
    require()
    import uvicorn

    class StoppedBySignal(uvicorn.Server):
        """To uvicorn a signal is a reason to die by it once it has stopped; to us it is a normal end."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # By now a signal is waited for, so that whoever reads the address can stop us cleanly.
            started()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            self.should_exit = True

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return StoppedBySignal(config)
