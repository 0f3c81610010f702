"""FINRA's own totals outrank every guard of plausibility, whenever they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from market_spine.app.scheduling import SchedulerResult
from market_spine.compose import Hooks, Request, Selection, reader, run_schedule
from market_spine.core.capture import Part, Payload
from market_spine.core.manifest import Known
from market_spine.core.partition import Partition
from spine.domains.finra.otc_transparency import DOMAIN

KEY = "2025-11-21|OTC"
HEADER = (
    "issueSymbolIdentifier|MPID|marketParticipantName|tierIdentifier|totalWeeklyTradeCount|totalWeeklyShareQuantity"
)
Sizes = Mapping[str, int]


class Given(NamedTuple):
    """A source with these parts."""

    parts: tuple[Part, ...]

    def fetch(self, partition: Partition, known: Known) -> Payload:
        return Payload(self.parts)


def sizes(count: int = 400) -> dict[str, int]:
    """Symbol to shares."""
    return {f"S{number:04}": 10_000 + 37 * number for number in range(count)}


def rows_of(shares: Sizes, totals: Part | None = None, *, api: bool = True) -> Part:
    """The rows of one venue, as the API or a file has them."""
    text = "\n".join([HEADER, *(f"{name}|ABCD|ABCD ALPHA ATS|OTCE|9|{count}" for name, count in shares.items())]) + "\n"
    metadata = {"source": "api", "record_total": str(len(shares))} if api else {}
    if totals is not None:
        metadata["totals_sha256"] = totals.sha256
    return Part("ATS", text.encode(), "rows", metadata)


def totals_of(shares: Sizes) -> Part:
    """FINRA's totals per symbol."""
    text = "\n".join([HEADER, *(f"{name}|||OTCE|9|{count}" for name, count in shares.items())]) + "\n"
    return Part("ATS_TOTALS", text.encode(), "totals", {"source": "api", "record_total": str(len(shares))})


class Desk:
    """A database, loaded with parts."""

    def __init__(self, home: Path) -> None:
        self.db = str(home / "spine.db")

    def load(self, *parts: Part) -> SchedulerResult:
        def select(_today: object, _reader: object) -> Selection:
            return Selection([DOMAIN.partition(KEY)], Given(parts))

        return run_schedule(DOMAIN, Request(db=self.db, run_date="2025-12-30"), select, Hooks())

    def open(self) -> dict[str, str]:
        """Kind to severity of the open anomalies."""
        with closing(reader(self.db)) as store:
            return {record.anomaly.kind: str(record.anomaly.severity) for record in store.anomalies()}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("DATABASE_URL", "FINRA_PLAUSIBILITY"):
        monkeypatch.delenv(name, raising=False)
    return Desk(tmp_path)


def proven(shares: Sizes) -> Sequence[Part]:
    """Rows with the totals that they add up to."""
    totals = totals_of(shares)
    return rows_of(shares, totals), totals


def test_totals_that_arrive_later_for_the_same_rows_end_the_doubt(desk: Desk) -> None:
    """Rows without totals are unverified; the same rows with totals are the same rows, and unverified no longer."""
    desk.load(rows_of(sizes()))
    assert desk.open() == {"unverified": "warning"}
    assert desk.load(*proven(sizes())).runs[0].reason == "same_rows"
    assert desk.open() == {}


@pytest.mark.parametrize(
    ("restated", "kind"),
    [
        (dict(list(sizes().items())[:240]), "shrunk"),
        (dict(list(sizes().items())[:100]), "replaced"),
        ({name: 1000 * count for name, count in sizes().items()}, "rescaled"),
    ],
)
def test_what_totals_prove_is_reported_and_not_held(desk: Desk, restated: Sizes, kind: str) -> None:
    """The same rows are held without them."""
    desk.load(*proven(sizes()))
    result = desk.load(*proven(restated))
    assert result.exit_code == 0 and result.runs[0].row_count == len(restated)
    found = {each.kind: each for each in result.anomalies}
    assert found[kind].severity == "warning" and "totals prove" in found[kind].message
    other = Desk(Path(desk.db).with_suffix(".other"))
    Path(desk.db).with_suffix(".other").mkdir()
    other.load(rows_of(sizes(), api=False))
    (run,) = other.load(rows_of(restated, api=False)).runs
    assert run.error is not None and run.error.kind == kind


def test_a_file_is_compared_with_the_totals_that_were_read_before_it(desk: Desk) -> None:
    """One that disagrees is loaded and says so; one that adds up to them is proven, and lets the doubt end."""
    desk.load(*proven(sizes()))
    changed = sizes() | {"S0001": 11_111}
    result = desk.load(rows_of(changed, api=False))
    assert result.exit_code == 0 and desk.open() == {"totals_disagree": "warning"}
    (anomaly,) = result.anomalies
    assert "S0001 +1,074 shares" in anomaly.message and "earlier" in anomaly.message
    assert desk.load(rows_of(sizes(), api=False)).exit_code == 0
    assert desk.open() == {}
