"""Serving the console until it is told to stop."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from market_spine.errors import UsageError
from market_spine.web.console import Console, require

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp

MOST_REQUESTS = 128
"""Requests in hand and waiting; a further one is told to come back (503)."""
_BACKLOG = 128


def serve(console: Console, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then let the answers in hand finish and return.

    Args:
        console: what to serve.
        host: the address to listen on.
        port: 0 for any free one.
        announce: is told the address as soon as it can be used.

    Raises:
        UsageError: if the port cannot be used.
    """
    require()
    from market_spine.web.app import application
    from market_spine.web.working import stand_back

    listener = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    _run(application(console, stand_back), listener, lambda: announce(f"http://{shown}:{listener.getsockname()[1]}"))


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; raises UsageError if it cannot be had."""
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        if listener is not None:
            listener.close()
        raise UsageError(
            f"--port: {port} of {host} cannot be used: {error}", hint="choose another port, or 0 for any free one"
        ) from error
    return listener


def _run(app: ASGIApp, listener: socket.socket, started: Callable[[], None]) -> None:
    import uvicorn

    class _StoppedBySignal(uvicorn.Server):
        """To uvicorn a signal is a reason to die by it once it has stopped; to us it is a normal end."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
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
        proxy_headers=False,
        limit_concurrency=MOST_REQUESTS,
        timeout_graceful_shutdown=5,
    )
    _StoppedBySignal(config).run(sockets=[listener])
