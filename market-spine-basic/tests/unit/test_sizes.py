"""How large what comes from outside may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.core import sizes
from market_spine.core.sizes import refuse_long_field
from market_spine.errors import ContentError, UsageError
from market_spine.settings import keep_freed_memory, size


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.data())
def test_a_long_field_is_found_wherever_it_stands(lengths: list[int], data: st.DataObject) -> None:
    """A payload is refused exactly if one of its fields is longer than may be."""
    separators = [data.draw(st.sampled_from([b"|", b"\n"])) for _ in lengths]
    payload = b"".join(b"x" * length + end for length, end in zip(lengths, separators, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "MAX_FIELD_BYTES", 20)
        if max(lengths) > 20:
            with pytest.raises(ContentError) as caught:
                refuse_long_field(payload, (b"|", b"\n"), "x")
            assert caught.value.kind == "field_too_large"
        else:
            refuse_long_field(payload, (b"|", b"\n"), "x")


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 7), ("1000", 1000), ("2GiB", 2 << 30), ("500 MB", 500 << 20), ("1k", 1024), (" 3G\n", 3 << 30)],
)
def test_sizes_are_written_with_a_unit_or_without(text: str, count: int) -> None:
    """A size is a number of bytes, or of thousand-and-twenty-fours of them."""
    assert size("FINRA_MAX_FILE", 7, {"FINRA_MAX_FILE": text}) == count


@pytest.mark.parametrize("text", ["0", "-1", "2TB", "much", "1.5G", "²"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The complaint names the variable, the value and what it takes."""
    with pytest.raises(UsageError) as caught:
        size("FINRA_MAX_FILE", 7, {"FINRA_MAX_FILE": text})
    assert "FINRA_MAX_FILE" in caught.value.message
    assert "2GiB" in caught.value.message


def test_what_the_environment_says_of_memory_counts_more() -> None:
    """Freed memory is kept for ten seconds, unless whoever starts the program has told its allocator something."""
    told, silent = {"_RJEM_MALLOC_CONF": "narenas:1"}, dict[str, str]()
    for environ in (told, silent):
        keep_freed_memory(environ)
    assert told == {"_RJEM_MALLOC_CONF": "narenas:1"}
    assert silent == {"_RJEM_MALLOC_CONF": "dirty_decay_ms:10000"}
