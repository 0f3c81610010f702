"""Readers whose every method sees one state of the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

R = TypeVar("R")


def steadily(reader: type[R]) -> type[R]:
    """Let every public method see one state, also of a file that others may change: see ``Database.steadily``."""
    for name, method in list(vars(reader).items()):
        if not name.startswith("_") and name != "close":
            setattr(reader, name, _steady(method))
    return reader


def _steady(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def read(self: Any, *arguments: Any, **named: Any) -> Any:
        return self._db.steadily(lambda: method(self, *arguments, **named))

    return read
