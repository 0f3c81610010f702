"""How text is shown to people: nothing that moves a terminal's cursor, no list longer than is read."""

from __future__ import annotations

import re
from collections.abc import Iterable

NAMES = 3
"""How many of many are named."""

_ITEM = r"[^\s,]*[|0-9A-Z][^\s,]*"
_LIST = rf"{_ITEM}(?:, {_ITEM}){{{NAMES},}}"
_PARTICULAR = r"\S*[|0-9]\S*|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"


def printable(text: str) -> str:
    """The text on one line, every character that is not seen as such (control, escape, direction) spelt out.

    Text that came from files, vendors and users goes through here before it reaches a terminal.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _spelt(each) for each in text)


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def abridged(text: str) -> str:
    """A sentence in which a list of many keys is their count and the first three."""

    def short(found: re.Match[str]) -> str:
        items = found[0].split(", ")
        return f"{len(items)} ({', '.join(items[:NAMES])}, ...)"

    return re.sub(_LIST, short, text)


def few(texts: Iterable[str]) -> list[str]:
    """Sentences, of those that say the same of many things the first three, then how many more there are."""
    alike: dict[str, list[str]] = {}
    for text in texts:
        alike.setdefault(re.sub(_PARTICULAR, "", text), []).append(text)
    shown: list[str] = []
    for group in alike.values():
        shown += group[:NAMES]
        if len(group) > NAMES:
            shown.append(f"... and {len(group) - NAMES} more like these; --json has all")
    return shown


def nearest(word: str, words: Iterable[str]) -> str:
    """``; did you mean 'x'?``, if one of the words is spelt much like it, else nothing."""
    from difflib import get_close_matches

    by_case = {each.casefold(): each for each in words}
    found = get_close_matches(word.casefold(), by_case, n=1, cutoff=0.6)
    return f"; did you mean '{by_case[found[0]]}'?" if found else ""
