"""JSON from elsewhere."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.jsontext import read_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=JSON, escaped=st.booleans())
def test_what_json_says_is_read_as_it_stands(value: Any, escaped: bool) -> None:
    """Every JSON value comes back the same, as text or bytes, with its characters escaped or not."""
    text = json.dumps(value, ensure_ascii=escaped)
    assert read_json(text) == value
    assert read_json(text.encode()) == value


@given(text=st.text())
def test_whatever_is_no_json_is_a_value_error(text: str) -> None:
    """No text brings forth anything but a value or a ValueError."""
    with suppress(ValueError):
        read_json(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_what_is_nested_too_deep_is_a_value_error(text: str) -> None:
    """Nesting that would break the parser is refused like any other text that is not JSON."""
    with pytest.raises(ValueError):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\ud83d"', "\ufffd"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (r'"\\ud83d"', r"\ud83d"),
        (r'"\\\ud83d"', "\\\ufffd"),
        (b'"\xed\xa0\xbd"', "\ufffd\ufffd\ufffd"),
        (b'"\xff"', "\ufffd"),
        (b'\xef\xbb\xbf"a"', "a"),
    ],
)
def test_half_a_character_becomes_the_replacement_character(text: str | bytes, value: str) -> None:
    """Lone surrogates and bytes that are no UTF-8 become U+FFFD; whole pairs and escaped backslashes stay."""
    assert read_json(text) == value
