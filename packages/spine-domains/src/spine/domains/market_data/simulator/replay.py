"""Recorded answers, sent back byte for byte with the status they came with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from market_spine.errors import UsageError
from spine.domains.market_data.simulator.exchange import CSV, JSON, Inquiry, Reply

MANIFEST = "manifest.json"
_TYPES = {".json": JSON, ".csv": CSV}


class Recordings:
    """The recorded answers of a folder.

    Args:
        folder: with a ``manifest.json``: a list of objects with ``file`` and, if known, ``http_status``,
            ``content_type`` and ``endpoint`` (a function of Alpha Vantage, a path of Massive).

    Raises:
        UsageError: if the manifest cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        try:
            entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            self._entries: Mapping[str, Mapping[str, Any]] = {entry["file"]: entry for entry in entries}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"--replay {folder}: {MANIFEST} cannot be read: {error}") from error
        self._files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES and path.name != MANIFEST
        }

    def names(self) -> list[str]:
        """The recordings, by their paths inside the folder."""
        return list(self._files)

    def addressed(self, path: str) -> Reply | None:
        """The recording that a path names; what follows the file's name does not matter.

        So a client whose base address ends in the name gets the recording for whatever it asks.
        """
        found = [name for name in self._files if path == name or path.startswith(f"{name}/")]
        return self._reply(found[0]) if found else None

    def matching(self, call: Inquiry) -> Reply | None:
        """The first recording that answers a request as it stands, by endpoint, symbol and days."""
        for name, entry in self._entries.items():
            if name in self._files and _answers(entry, call):
                return self._reply(name)
        return None

    def _reply(self, name: str) -> Reply:
        entry = self._entries.get(name, {})
        status = re.search(r"\b[1-5]\d\d\b", str(entry.get("http_status", 200)))
        path = self._files[name]
        return Reply(
            path.read_bytes(), int(status[0]) if status else 200, entry.get("content_type", _TYPES[path.suffix])
        )


def _answers(entry: Mapping[str, Any], call: Inquiry) -> bool:
    endpoint = entry.get("endpoint", "")
    described = f"{entry['file']} {entry.get('what', '')}"
    if not endpoint.startswith("/"):
        asked = call.query
        return (
            bool(endpoint)
            and asked.get("function") == endpoint
            and entry["file"].endswith(asked.get("datatype", "json"))
            and _names(described, [asked.get("symbol", "")])
            and not _names(entry["file"], ["compact" if asked.get("outputsize") == "full" else "full"])
        )
    template = "".join(
        "([^/]+)" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", endpoint)
    )
    match = re.fullmatch(template, call.path)
    return bool(match and _names(described, match.groups()))


def _names(text: str, words: Iterable[str]) -> bool:
    """Whether each of the words stands in a text as a word of its own."""
    return all(re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", text) for word in words if word)
