"""Files that were damaged on their way: thousands of kinds of damage, and one promise."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from market_spine.app.scheduling import SchedulerResult

from .conftest import KEYS, ROUNDS

if TYPE_CHECKING:
    from .conftest import Finra

MUTANTS = 40 * ROUNDS
JUNK = (b"\0", b"|", b"\n", b"\r", b'"', b"\xef\xbb\xbf", b"\xff\xfe", b"1e999", b"NaN", b"-")


def mutated(dice: Random, data: bytes, other: bytes) -> bytes:
    """Bytes with a few pieces flipped, cut out, doubled, swapped, replaced by junk or taken from another file."""
    found = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        at = dice.randrange(len(found) + 1)
        size = dice.choice((1, 2, 7, 40, 300))
        piece = bytes(found[at : at + size])
        match dice.randrange(8):
            case 0:
                found[at : at + size] = dice.randbytes(len(piece))
            case 1:
                del found[at : at + size]
            case 2:
                found[at:at] = piece
            case 3:
                found[at : at + size] = other[at : at + size]
            case 4:
                found[at:at] = dice.choice(
                    (b"\0", b"|", b"\n", b"\r", b'"', b"\xef\xbb\xbf", b"\xff\xfe", b"1e999", b"NaN", b"-")
                )
            case 5:
                del found[at:]
            case 6:
                lines = bytes(found).split(b"\n")
                dice.shuffle(lines)
                found = bytearray(b"\n".join(lines))
            case _:
                found[at : at + size] = piece.swapcase()[::-1]
    return bytes(found)


@pytest.mark.parametrize("seed", range(2))
def test_no_mutant_is_an_internal_error_nor_harms_what_is_known(
    finra: Finra, tmp_path: Any, seed: int, record_property: Any
) -> None:
    """Each damaged file is loaded, held or refused with a named error; the other week stays as it is, and the sound
    file makes its week what it was."""
    db = str(tmp_path / "mutants.db")
    finra.load(db, finra.first)
    before = finra.look(db)
    dice = Random(seed)
    files = sorted(finra.first.iterdir())
    target, other = files[-1], files[0]
    sound, beside = target.read_bytes(), other.read_bytes()
    kinds: dict[str, int] = {}
    for _ in range(MUTANTS // 2):
        target.write_bytes(mutated(dice, sound, beside))
        result = finra.load(db, finra.first)
        SchedulerResult.from_json(result.to_json())
        assert result.error is None, result.error
        for run in result.runs:
            kind = run.error.kind if run.error else run.status
            kinds[kind] = kinds.get(kind, 0) + 1
            assert kind != "internal", run
        assert finra.look(db).of_partition(KEYS[0]) == before.of_partition(KEYS[0])
    assert len(kinds) > 2, kinds
    target.write_bytes(sound)
    assert finra.load(db, finra.first, force=True).exit_code == 0
    assert finra.look(db).values == before.values
    record_property("mutants", MUTANTS // 2)
