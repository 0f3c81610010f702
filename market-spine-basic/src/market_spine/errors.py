"""Every error Market Spine raises on purpose.

    MarketSpineError
    ├── UsageError            a flag, key or SQL text the user gave cannot be used
    ├── StoreError            the database cannot be used
    │   ├── StoreUnavailable  it cannot be opened, reached or written
    │   ├── StoreLocked       another writer wrote for longer than we wait
    │   ├── SchemaError       its schema is older (and may not be upgraded) or newer than the code
    │   └── StoreCorrupt      it contradicts its own manifest
    ├── SourceError           a partition cannot be fetched
    ├── ContentError          what was fetched is not what it should be: refused whole
    ├── GuardError            it parsed, but a guard holds it back until a person accepts it
    ├── MissingInput          a stage was asked for whose input is not there
    └── Interrupted           a signal ended a wait

Each carries ``kind`` (a stable word for machines), ``message`` (what and which) and ``hint`` (what to do
next). Adapters translate what their library raises into one of these and keep the cause.
"""

from __future__ import annotations


class MarketSpineError(Exception):
    """Base of all errors that are shown to the user as ``kind``, ``message`` and ``hint``.

    ``config``: values in effect where it was raised, for the result of a run that it ends.
    """

    default_kind = "internal"

    def __init__(self, message: str, *, hint: str = "", kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.kind = kind or self.default_kind
        self.config: dict[str, object] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.kind))


def _rebuild(cls: type[MarketSpineError], message: str, hint: str, kind: str) -> MarketSpineError:
    return cls(message, hint=hint, kind=kind)


class UsageError(MarketSpineError):
    """A flag, a partition key or an SQL text that cannot be used as given."""

    default_kind = "usage"


class StoreError(MarketSpineError):
    """The database cannot be used."""

    default_kind = "store"


class StoreUnavailable(StoreError):
    """The database cannot be opened, reached or written."""

    default_kind = "store_unavailable"


class StoreLocked(StoreError):
    """Another writer was writing to the database for longer than we wait."""

    default_kind = "locked"


class SchemaError(StoreError):
    """The schema is older than the code and may not be upgraded now, or newer than the code."""

    default_kind = "schema"


class StoreCorrupt(StoreError):
    """The database contradicts its own manifest."""

    default_kind = "store_corrupt"


class SourceError(MarketSpineError):
    """A partition cannot be fetched from its source."""

    default_kind = "source"


class ContentError(MarketSpineError):
    """What was fetched is not what it should be; the whole payload is refused and nothing is stored."""

    default_kind = "content"


class GuardError(MarketSpineError):
    """The payload parsed, but a guard holds it back: kept as ``held`` until a person accepts it."""

    default_kind = "guard"


class MissingInput(MarketSpineError):
    """A stage was asked for whose input is not there."""

    default_kind = "missing_input"


class Interrupted(MarketSpineError):
    """A signal ended a wait; what the wait was for is left undone."""

    default_kind = "interrupted"
