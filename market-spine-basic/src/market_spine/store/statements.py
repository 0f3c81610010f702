"""The first look at a user's SQL text. What passes still runs where it cannot write."""

from __future__ import annotations

import re

from market_spine.errors import UsageError

_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*(\w*)", re.DOTALL)


def check(sql: str) -> None:
    """Raise UsageError unless the text starts like a reading statement and is text through and through."""
    match = _FIRST_WORD.match(sql)
    word = match[1] if match else ""
    if word.upper() not in ("SELECT", "WITH", "VALUES"):
        raise UsageError(
            f"only reading statements can be run, not {word.upper() or 'an empty one'}",
            hint="start the statement with SELECT, WITH or VALUES",
        )
    try:
        broken = b"\0" in sql.encode()
    except UnicodeEncodeError:
        broken = True
    if broken:
        raise UsageError("the statement holds a character that no text has", hint="remove NUL and half characters")
