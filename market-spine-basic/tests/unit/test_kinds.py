"""Values by column kind: in keys, in scopes and in frames."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core.kinds import EXAMPLES, frame_type, frame_value, read_value, write_value
from market_spine.core.schema import Kind

VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    "text": st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1).filter(
        lambda text: "|" not in text and text.isprintable()
    ),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "date": st.dates(),
    "boolean": st.booleans(),
}


@pytest.mark.parametrize("kind", list(VALUES))
@given(data=st.data())
def test_a_value_survives_its_spelling(kind: Kind, data: st.DataObject) -> None:
    """What is written into a key is read from it again, and fits a frame's column of the kind."""
    value = data.draw(VALUES[kind])
    found = frame_value(kind, read_value(kind, write_value(value)))
    assert found == value
    assert pl.Series([found], dtype=frame_type(kind)).to_list() == [value]


@pytest.mark.parametrize(
    ("kind", "text", "spelt"),
    [
        ("integer", "02025", "2025"),
        ("integer", "-7", "-7"),
        ("float", "1", "1.0"),
        ("float", "-0", "0.0"),
        ("date", "2025-01-03", "2025-01-03"),
        ("boolean", "false", "false"),
        ("text", "BRK.B", "BRK.B"),
    ],
)
def test_every_value_has_one_spelling(kind: Kind, text: str, spelt: str) -> None:
    """Other spellings of a value become the one that keys have."""
    assert write_value(read_value(kind, text)) == spelt


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", ""),
        ("integer", "2025.0"),
        ("integer", str(2**63)),
        ("float", "nan"),
        ("float", "1e999"),
        ("float", "many"),
        ("date", "20250103"),
        ("date", "2025-02-30"),
        ("boolean", "True"),
        ("boolean", "1"),
        ("text", ""),
        ("text", "a|b"),
        ("text", "a\nb"),
    ],
)
def test_what_is_no_value_of_its_kind_is_refused(kind: Kind, text: str) -> None:
    """A text that spells no value of the kind, or could not stand in a key, raises ValueError naming the kind."""
    with pytest.raises(ValueError, match=f"is no {kind}"):
        read_value(kind, text)


@pytest.mark.parametrize("kind", list(VALUES))
def test_each_example_is_a_value(kind: Kind) -> None:
    """The value that messages show for a kind can be read."""
    assert write_value(read_value(kind, EXAMPLES[kind])) == EXAMPLES[kind]


def test_a_date_is_a_date_in_frames_and_its_iso_text_in_scopes() -> None:
    """The two forms of the third of January 2025."""
    assert (read_value("date", "2025-01-03"), frame_value("date", "2025-01-03")) == ("2025-01-03", date(2025, 1, 3))
