"""What a store must say after any history of loads and decisions: the rules again, by brute force, over dicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

Rows = dict[tuple[str, int], tuple[int, str | None]]
Texts = dict[str, str]


def read(text: str) -> dict[int, tuple[int, str | None]]:
    """Number to amount and note; the note is None if the text has none."""
    rows = {}
    for line in text.splitlines()[1:]:
        number, amount, *note = line.split(" ")
        rows[int(number)] = (int(amount), note[0] if note else None)
    return rows


def plain(text: str) -> bool:
    """Whether the text does not carry notes."""
    return text.splitlines()[0].startswith("plain")


def after(state: tuple[Texts, Rows], fetched: Texts, ranged: bool) -> tuple[Texts, Rows]:
    """The parts and rows of a slot once some texts were loaded over what it had."""
    texts, rows = state
    if ranged:
        fresh = {("a", number): row for number, row in read(fetched["a"]).items()}
        numbers = [number for _, number in fresh]
        kept = {key: row for key, row in rows.items() if not min(numbers) <= key[1] <= max(numbers)}
        return dict(fetched), kept | fresh
    texts = texts | fetched
    new: Rows = {}
    for leg, text in texts.items():
        for number, (amount, note) in read(text).items():
            had, said = rows.get((leg, number), (0, None))
            note_kept = said if had == amount else None
            new[leg, number] = (amount, note_kept if plain(text) else note)
    return texts, new


def same_texts(new: Texts, old: Texts) -> bool:
    """Whether each of some texts has the rows of the old one of its name, in what both carry."""
    for leg, text in new.items():
        if leg not in old:
            return False
        one, other = read(text), read(old[leg])
        if one.keys() != other.keys():
            return False
        for number, (amount, note) in one.items():
            their_amount, their_note = other[number]
            both = not plain(text) and not plain(old[leg])
            if amount != their_amount or (both and note != their_note):
                return False
    return True


@dataclass
class Capture:
    """One observed version: its texts, when it came in line (None: never), and whether it is retracted."""

    fetched: Texts
    known_as: list[Texts]
    place: int | None = None
    held_at: int = 0
    source: Texts = field(default_factory=dict)
    retracted: bool = False


@dataclass
class Odd:
    """The anomaly that the guard opens: which capture it is about, when it was last seen, what sets it aside."""

    capture: int
    seen: date
    quiet: list[date | None] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return not any(until is None or self.seen <= until for until in self.quiet)


@dataclass
class Slot:
    """The model of one slot."""

    ranged: bool
    captures: list[Capture] = field(default_factory=list)
    current: int | None = None
    replayed: bool = False
    current_at: int = 0
    odd: Odd | None = None
    ticks: int = 0
    accepted: set[tuple[str, str]] = field(default_factory=set)

    def state(self) -> tuple[Texts, Rows]:
        """Everything that counts, laid over nothing in the order it came in line."""
        told: tuple[Texts, Rows] = ({}, {})
        in_line = [each for each in self.captures if each.place is not None and not each.retracted]
        for capture in sorted(in_line, key=lambda each: each.place or 0):
            told = after(told, capture.fetched, self.ranged)
        return told

    @property
    def rows(self) -> Rows:
        return self.state()[1]

    @property
    def held(self) -> int | None:
        """The latest held capture, unless it is retracted or a later load took its place."""
        waiting = [number for number, each in enumerate(self.captures) if each.held_at]
        if not waiting:
            return None
        last = max(waiting, key=lambda number: self.captures[number].held_at)
        if self.captures[last].place is not None:
            return None
        passed = self.current is not None and not self.replayed and self.current_at > self.captures[last].held_at
        return None if passed or self.captures[last].retracted else last

    def load(self, fetched: Texts, day: date, *, force: bool) -> str:
        """Load some texts; what the run says."""
        self.ticks += 1
        own = self.captures[self.current] if self.current is not None else None
        same = own is not None and all((leg, text) in self.accepted for leg, text in fetched.items())
        if same and not force:
            self._agree()
            return "same_bytes"
        if not same and any(self._taken_bytes(each, fetched) for each in self.captures if each.retracted):
            return "retracted"
        before = self.state()
        texts, rows = after(before, fetched, self.ranged)
        if own is not None and rows == before[1]:
            self.accepted |= set(texts.items())
            own.known_as.append(dict(fetched))
            self._agree()
            return "completed" if force else "same_rows"
        if any(each.retracted and self._taken_rows(each, fetched) for each in self.captures):
            return "retracted"
        odd = any("odd" in text.splitlines()[0] for text in texts.values())
        again = self.held is not None and self.captures[self.held].source == texts
        if odd and not force:
            if not again:
                self.captures.append(Capture(fetched, [fetched], None, self.ticks, texts))
            number = self.held
            assert number is not None
            quiet = self.odd.quiet if self.odd else []
            self.odd = Odd(number, day, quiet)
            return "failed"
        if again:
            number = self.held
            assert number is not None
            self.captures[number].fetched = fetched
            self.captures[number].known_as.append(fetched)
        else:
            self.captures.append(Capture(fetched, [fetched]))
            number = len(self.captures) - 1
        self._enter(number, texts)
        return "completed"

    def accept(self, number: int) -> str:
        """Accept a capture; what the answer says."""
        capture = self.captures[number]
        self.ticks += 1
        if capture.place is not None:
            if not capture.retracted:
                return "up_to_date"
            capture.retracted = False
            self._replay()
            return "completed"
        capture.retracted = False
        self._enter(number, after(self.state(), capture.fetched, self.ranged)[0])
        return "completed"

    def retract(self, number: int) -> str:
        """Retract a capture; what the answer says."""
        capture = self.captures[number]
        self.ticks += 1
        if capture.retracted:
            return "retracted"
        held = self.held
        capture.retracted = True
        if capture.place is None:
            if self.odd is not None and self.odd.capture == number:
                self.odd = None
        else:
            self._replay(held)
        return "completed"

    def acknowledge(self, until: date | None) -> None:
        """Set the anomaly aside."""
        assert self.odd is not None
        self.odd.quiet.append(until)

    def _agree(self) -> None:
        self.odd = None

    def _enter(self, number: int, texts: Texts) -> None:
        self.captures[number].place = self.ticks
        self.current, self.replayed, self.current_at = number, False, self.ticks
        self.accepted = set(texts.items())
        self.odd = None

    def _replay(self, held: int | None = None) -> None:
        held = self.held if held is None else held
        in_line = [number for number, each in enumerate(self.captures) if each.place and not each.retracted]
        if self.odd is not None and self.odd.capture != held:
            self.odd = None
        if not in_line:
            self.current, self.accepted = None, set()
            self.odd = None if held is None or self.odd is None else self.odd
            return
        self.current = max(in_line, key=lambda number: self.captures[number].place or 0)
        self.replayed, self.current_at = True, self.ticks
        self.accepted = set(self.state()[0].items())

    @staticmethod
    def _taken_bytes(capture: Capture, fetched: Texts) -> bool:
        pairs = {pair for texts in capture.known_as for pair in texts.items()}
        return all(pair in pairs for pair in fetched.items())

    def _taken_rows(self, capture: Capture, fetched: Texts) -> bool:
        if self.ranged:
            # What both tell of: the same, and not what stands.
            one, other = read(fetched["a"]), read(capture.known_as[0]["a"])
            both = range(max(min(one), min(other)), min(max(one), max(other)) + 1)
            stands = [self.rows.get(("a", number)) for number in both]
            same = [one.get(number) for number in both] == [other.get(number) for number in both]
            return same and stands != [one.get(number) for number in both]
        return same_texts(fetched, capture.known_as[0])
