"""What a domain can tell about one thing that its rows name, such as a symbol or a venue: which rows, drawn how."""

from __future__ import annotations

from typing import Literal, NamedTuple

Form = Literal["line", "bars", "latest"]
"""``line`` and ``bars`` over time; ``latest``: the rows of the latest day, largest first."""


class Panel(NamedTuple):
    """One drawing, with the table that it is drawn from.

    Attributes:
        title: what it shows, for people.
        relation: the table or view whose rows name the subject in the subject's column.
        at: the column of days.
        value: the column that is drawn.
        by: the columns that tell lines, or rows of the latest day, apart.
        form: how it is drawn.
        unit: of the value: ``share`` is a fraction of 1, else as people write it.
    """

    title: str
    relation: str
    at: str
    value: str
    by: tuple[str, ...] = ()
    form: Form = "line"
    unit: str = ""


class Subject(NamedTuple):
    """One sort of thing; several domains may tell of the same sort.

    Attributes:
        name: in the plural, such as ``symbols``.
        column: the column that names one, in every relation of the panels.
        panels: what is told of it, in order; the first one's latest day ranks them.
    """

    name: str
    column: str
    panels: tuple[Panel, ...]
