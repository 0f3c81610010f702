"""How text is shown to people: on one line, nothing that a terminal obeys, lists no longer than is read."""

from __future__ import annotations

import json
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_spine.telemetry import JsonLines, Text
from market_spine.wording import abridged, few, nearest, printable

HOSTILE = [
    ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    ("\x9b31m", "\\x9b31m"),
    ("a\nERROR: b", "a\\nERROR: b"),
    ("a\r\x1b[2Kb", "a\\r\\x1b[2Kb"),
    ("abc\u202ecba", "abc\\u202ecba"),
    ("\u2066x\u2069", "\\u2066x\\u2069"),
    ("a\u2028b", "a\\u2028b"),
    ("\u200bx\ufeff", "\\u200bx\\ufeff"),
    ("\x7f\x00", "\\x7f\\x00"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_what_a_terminal_obeys_is_spelt_out(text: str, shown: str) -> None:
    """Escape sequences, line ends, direction marks and invisible characters are shown as escapes."""
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["plain", "Müller & Söhne → 株式会社", "a 'b' \"c\" \\ d"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Letters of any script, marks and backslashes are not touched."""
    assert printable(text) == text


@given(st.text())
def test_nothing_but_seen_characters_is_left(text: str) -> None:
    """Whatever comes in, no control, format, surrogate or line character goes out."""
    shown = printable(text)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("formatter", [Text(), JsonLines()])
@pytest.mark.parametrize("text", [text for text, _ in HOSTILE])
def test_a_log_line_stays_one_line_without_escapes(formatter: logging.Formatter, text: str) -> None:
    """A message with hostile text is one log line of printable characters, in either form."""
    record = logging.LogRecord("market_spine", logging.WARNING, "", 0, "met %s", (text,), None)
    assert formatter.format(record).isprintable()


def test_a_traceback_keeps_its_lines_and_loses_its_escapes() -> None:
    """An exception's text cannot paint the terminal, and its traceback still has lines."""
    try:
        raise ValueError("\x1b[31mred")
    except ValueError as error:
        record = logging.LogRecord("market_spine", logging.ERROR, "", 0, "failed", (), (type(error), error, None))
    lines = Text().format(record).split("\n")
    assert lines[-1] == "ValueError: \\x1b[31mred"
    assert all(line.isprintable() for line in lines)


def test_the_json_log_loses_no_character() -> None:
    """What a JSON log line says is the message itself."""
    record = logging.LogRecord("market_spine", logging.WARNING, "", 0, "\x1b[31m\u202e\n", (), None)
    assert json.loads(JsonLines().format(record))["message"] == "\x1b[31m\u202e\n"


def test_a_long_list_is_a_count_and_three_names() -> None:
    """Four keys and more are counted and three of them named; three are all named."""
    keys = ["2025-10-31|OTC", "2025-11-07|OTC", "2025-11-14|OTC", "2025-11-21|OTC"]
    assert abridged(f"incomplete: {', '.join(keys)}") == (
        "incomplete: 4 (2025-10-31|OTC, 2025-11-07|OTC, 2025-11-14|OTC, ...)"
    )
    three = f"incomplete: {', '.join(keys[:3])}"
    assert abridged(three) == three
    assert abridged("left for the next run: AAPL, MSFT, GOOGL, NVDA, BRK.B") == (
        "left for the next run: 5 (AAPL, MSFT, GOOGL, ...)"
    )


@pytest.mark.parametrize(("level", "whole"), [(logging.ERROR, True), (logging.WARNING, False)])
def test_an_error_names_all_that_is_wrong(level: int, whole: bool) -> None:
    """On a terminal a warning about many partitions is cut short, an error is not."""
    text = "lacks the columns aA, bB, cC, dD, eE"
    record = logging.LogRecord("market_spine", level, "", 0, text, (), None)
    assert Text().format(record).endswith(text if whole else "5 (aA, bB, cC, ...)")


def test_a_sentence_with_commas_is_no_list() -> None:
    """Ordinary words between commas are left alone."""
    text = "it was read, compared, found wanting, refused, and kept"
    assert abridged(text) == text


def test_many_sentences_of_one_kind_are_three_and_a_count() -> None:
    """Warnings that differ in dates, weekdays and keys alone are folded; others all stand."""
    weeks = [f"Week 2025-11-{day:02} is a Monday: mapped to the week ending 2025-11-{day + 4:02}." for day in range(10)]
    assert few([*weeks, "something else"]) == [
        *weeks[:3],
        "... and 7 more like these; --json has all",
        "something else",
    ]


@pytest.mark.parametrize(
    ("word", "said"),
    [("statsu", "; did you mean 'status'?"), ("STATUS", "; did you mean 'status'?"), ("zebra", "")],
)
def test_the_nearest_word_is_offered(word: str, said: str) -> None:
    """A word much like one of those there are is offered, another one not."""
    assert nearest(word, ["status", "runs", "query"]) == said
