"""Keeps keys, tokens and passwords out of every text that a person or a log may see."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"

_FIELD = (
    r"(?i)([\"']?\b[\w-]*(?:api_?key|token|secret|password|passwd|authorization|signature|credential)[\"']?\s*[=:]\s*[\"']?)"
    r"((?:basic|bearer)\s+)?[^&\s\"',;}]+"
)
_USER_INFO = r"(?<=://)[^/\s@]+@"


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` without secrets: the given ones as they are and as a URL spells them, the values of fields
    named like a key, token, secret or password, and user information in addresses.

    Args:
        text: an address, a message or a piece of an answer.
        secrets: values known to be secret; empty ones are ignored.
    """
    from urllib.parse import quote

    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN).replace(quote(secret, safe=""), HIDDEN)
    text = re.sub(_USER_INFO, "", text)
    return re.sub(_FIELD, lambda match: f"{match[1]}{HIDDEN}", text)
