"""A tiny domain for trying out decisions: a slot's rows come in one or two legs, or as a range of numbers.

The text of a part is one line ``HEAD``, then a line ``NUMBER AMOUNT [NOTE]`` for each row; an AMOUNT of ``?`` is
rejected. ``HEAD`` is ``noted`` if the source carries notes, ``plain`` if it does not (an unchanged amount keeps its
note), and may go on with ``odd``, which a guard holds. The parts of a slot whose name begins with ``r`` cover the range
from their lowest to their highest number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from market_spine.core.capture import Part
from market_spine.core.domain import (
    Concern,
    CoversRange,
    Domain,
    LacksFields,
    Normalized,
    Range,
    StageSpec,
    WindowCalc,
    rejected_rows,
)
from market_spine.core.partition import Partition
from market_spine.core.reconcile import Unknown
from market_spine.core.schema import Column, Table

SLOT = Column("slot", "text", "Which one.", nullable=False)
AMOUNT = Column("amount", "integer", "How much.", nullable=False)
ROW = Table(
    "ledger_row",
    (
        SLOT,
        Column("leg", "text", "The part it came in.", nullable=False),
        Column("item", "integer", "Which row.", nullable=False),
        AMOUNT,
        Column("note", "text", "What is said of it."),
    ),
    ("slot", "leg", "item"),
    ("slot",),
    "The rows of a slot.",
    stage="normalize",
)
TOTAL = Table(
    "ledger_total",
    (SLOT, Column("rows", "integer", "Rows.", nullable=False), AMOUNT),
    ("slot",),
    ("slot",),
    "What a slot adds up to.",
)
PAIR = Table("ledger_pair", (SLOT, AMOUNT), ("slot",), ("slot",), "What a slot and its mate add up to.", stage="pair")


def mate(slot: str) -> str:
    """The other slot of a pair."""
    return f"{slot[0]}{int(slot[1:]) ^ 1}"


_PAIR = StageSpec("pair", "ledger.compute_pair", "1")


@dataclass(frozen=True, slots=True)
class Pair:
    """A slot with its mate."""

    spec: StageSpec = _PAIR
    table: Table = PAIR
    reads: tuple[str, tuple[str, ...]] = ("ledger_total", ("slot", "amount"))

    def inputs(self, partition: Partition) -> Sequence[Partition]:
        """The mate and the slot."""
        (slot,) = partition.values
        return [Partition("ledger", (mate(slot),)), partition]

    def compute(self, partition: Partition, present: Sequence[Partition], rows: pl.DataFrame) -> pl.DataFrame:
        """One row."""
        return pl.DataFrame({"slot": [partition.key], "amount": [int(rows["amount"].sum())]})


class Ledger(Domain):
    """The descriptor."""

    name = "ledger"
    scheduler = "ledger_load"
    unit = "slot"
    partition_fields = ("slot",)
    tables = (ROW, TOTAL, PAIR)
    migrations = "ledger.migrations"
    windows: tuple[WindowCalc, ...] = (Pair(),)

    def normalize(self, partition: Partition, parts: Sequence[Part]) -> Normalized:
        """Lines to rows."""
        (slot,) = partition.values
        rows: list[tuple[str, str, int, int, str | None]] = []
        unknown, concerns = [], []
        rejects: list[tuple[str, int, str, str]] = []
        refused: list[tuple[str, str, int]] = []
        for part in parts:
            head, *lines = part.data.decode().splitlines()
            if "odd" in head:
                concerns.append(Concern("odd", f"{part.name} is odd"))
            if "plain" in head:
                unknown.append(Unknown(("note",), {"leg": part.name}, tied_to=("amount",)))
            for place, line in enumerate(lines, 2):
                number, amount, *note = line.split(" ")
                if amount == "?":
                    rejects.append((part.name, place, "no_amount", line))
                    refused.append((slot, part.name, int(number)))
                    continue
                rows.append((slot, part.name, int(number), int(amount), note[0] if note else None))
        partial: CoversRange | LacksFields | None = None
        if slot.startswith("r"):
            numbers = [number for _, _, number, _, _ in rows]
            partial = CoversRange({"ledger_row": Range("item", min(numbers), max(numbers))})
        elif unknown:
            partial = LacksFields({"ledger_row": tuple(unknown)})
        types = {"slot": pl.String, "leg": pl.String, "item": pl.Int64}
        return Normalized(
            {"ledger_row": ROW.frame(rows)},
            rejected_rows(rejects),
            len(rows) + len(rejects),
            concerns=tuple(concerns),
            partial=partial,
            refused={"ledger_row": pl.DataFrame(refused, types, orient="row")},
        )

    def compute(self, partition: Partition, tables: Mapping[str, pl.DataFrame]) -> Mapping[str, pl.DataFrame]:
        """The slot's total."""
        rows = tables["ledger_row"]
        return {"ledger_total": TOTAL.frame([(partition.key, rows.height, int(rows["amount"].sum()))])}

    def commands(self) -> Mapping[str, str]:
        """None."""
        return {}


DOMAIN = Ledger()
