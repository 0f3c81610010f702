"""Logs: the talk on stderr, as JSON lines for machines or short text for people."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from market_spine.wording import abridged, printable

_context: ContextVar[dict[str, str] | None] = ContextVar("market_spine_log_context", default=None)

_to_json = json.JSONEncoder(default=str).encode
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Put fields, such as ``run_id`` and ``partition``, on every line logged inside the block."""
    token = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def current_context() -> dict[str, str]:
    """The fields that are on lines logged here."""
    return dict(_context.get() or {})


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, context and extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **(_context.get() or {}),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _to_json(line)


class Text(logging.Formatter):
    """``LEVEL: [partition] message`` for a person at a terminal, on one line but for an exception's traceback."""

    def format(self, record: logging.LogRecord) -> str:
        partition = (_context.get() or {}).get("partition")
        where = f"[{partition}] " if partition else ""
        # What is wrong is told in full; of what is odd about many partitions a few are named.
        message = record.getMessage()
        told = message if record.levelno >= logging.ERROR else abridged(message)
        text = printable(f"{record.levelname}: {where}{told}")
        if not record.exc_info:
            return text
        return "\n".join([text, *map(printable, self.formatException(record.exc_info).split("\n"))])


def configure_logging(level: str, domains: Iterable[str] = (), *, as_text: bool) -> None:
    """Send Market Spine's logs to stderr. Called by the command line only; a library never does.

    Args:
        level: the least level to show.
        domains: modules of the domains; what they and the modules below them log is shown, too.
        as_text: for people, else as JSON lines.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Text() if as_text else JsonLines())
    for name in ("market_spine", *domains):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
