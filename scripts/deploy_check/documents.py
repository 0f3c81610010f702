"""YAML as the checks read it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cronsim import CronSim, CronSimError


def load(path: Path) -> Any:
    """A file's one document; None if it cannot be read, which yamllint reports."""
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError:
        return None


def load_all(text: str) -> list[dict[str, Any]]:
    """All documents of a text."""
    return [document for document in yaml.safe_load_all(text) if document]


def find(document: Any, key: str) -> Iterator[Any]:
    """Every value that stands under a key, however deep."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name == key:
                yield value
            yield from find(value, key)
    elif isinstance(document, list):
        for value in document:
            yield from find(value, key)


def schedule_problem(expression: str) -> str | None:
    """Why five fields are no schedule; None if they are."""
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        return f"{expression!r} is no schedule: {str(error) or 'it never comes'}"
    return None
