"""JSON as others send it: whatever is wrong with it is a ValueError, and its texts are texts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
"""Both halves of a surrogate pair, one half alone (the group), or any other escape."""


def read_json(data: bytes | str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value that a JSON text stands for.

    Bytes that are no UTF-8 and lone halves of surrogate pairs, which no database or file takes, become U+FFFD.

    Args:
        data: the text, or its bytes.
        pairs: makes something else of an object's members than a dictionary.

    Raises:
        ValueError: it is not JSON, or nested too deep to be read.
    """
    text = data.decode("utf-8-sig", "replace") if isinstance(data, bytes) else data
    if "\\u" in text:
        text = _ESCAPES.sub(lambda match: r"\ufffd" if match[1] else match[0], text)
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
