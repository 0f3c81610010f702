"""How large what comes from outside may be: told before memory is spent on it."""

from __future__ import annotations

from market_spine.errors import ContentError

MAX_FILE_BYTES = 2 << 30
"""How large a source's file may be, unless the source is set otherwise."""
MAX_BYTES = 1 << 29
"""How far a payload may expand; real ones are below a tenth of this."""
MAX_FIELD_BYTES = 1_000_000
"""How long one field of a payload may be."""


def too_large(origin: str, limit: int) -> ContentError:
    """The refusal of a file that is, or expands to, more than may be."""
    return ContentError(
        f"{origin} expands to more than {limit:,} bytes",
        kind="too_large",
        hint="check what the file is; split it if it is real",
    )


def refuse_long_field(data: bytes, separators: tuple[bytes, ...], origin: str) -> None:
    """Raise ContentError, kind ``field_too_large``, if somewhere no separator follows for longer than a field may be.

    Looks at a few places for each megabyte of ordinary data.
    """
    start = 0
    while len(data) - start > MAX_FIELD_BYTES:
        end = start + MAX_FIELD_BYTES + 1
        last = max(data.rfind(each, start, end) for each in separators)
        if last < 0:
            raise ContentError(
                f"{origin} has a field of more than {MAX_FIELD_BYTES:,} bytes, which begins at byte {start:,}",
                kind="field_too_large",
                hint="check what the file is; fetch it again",
            )
        start = last + 1
