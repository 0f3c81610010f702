"""Recorded answers through the simulated vendors: byte for byte, with the status they came with."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from market_spine.errors import UsageError
from spine.domains.market_data.simulator.generated import generate_book
from spine.domains.market_data.simulator.replay import Recordings
from spine.domains.market_data.simulator.server import RunningVendor, running_vendor

from . import patient

if TYPE_CHECKING:
    import httpx2

pytestmark = pytest.mark.server

NOW = datetime(2026, 11, 21, 17, tzinfo=UTC)


@pytest.fixture(scope="module")
def prices() -> Path:
    """The folder of recorded answers."""
    repository = Path(__file__).resolve().parents[4]
    folder = Path(os.environ.get("MARKET_SPINE_SAMPLES", repository.parent / "shared" / "samples")) / "prices"
    if not folder.is_dir():
        pytest.skip(f"no real sample files in {folder} (MARKET_SPINE_SAMPLES)")
    return folder


@pytest.fixture(scope="module", params=["alpha_vantage", "polygon"])
def served(request: pytest.FixtureRequest, prices: Path) -> Iterator[RunningVendor]:
    with running_vendor(request.param, generate_book(1, ["IBM"]), NOW, recordings=Recordings(prices)) as vendor:
        yield vendor


@pytest.mark.samples
def test_by_name(served: RunningVendor, prices: Path) -> None:
    """Every recorded answer can be had under its name, whatever a client appends to that address."""
    entries = json.loads((prices / "manifest.json").read_text())
    answers = [entry for entry in entries if entry["category"] != "documentation"]
    assert len(answers) > 30
    for entry in answers:
        answer = patient.get(f"{served.url}/replay/{entry['file']}/query?function=X&apikey=K")
        status = 406 if "406" in str(entry["http_status"]) else entry["http_status"]
        assert (answer.status_code, hashlib.sha256(answer.content).hexdigest()) == (status, entry["sha256"])
        assert answer.headers["content-type"].startswith(entry["content_type"])


@pytest.mark.samples
def test_two_captures(served: RunningVendor, prices: Path) -> None:
    """A recording that the manifest leaves out is served, too: one session before and after its revision."""
    for name in ("grouped_2021-05-18_capture1.json", "grouped_2021-05-18_capture2.json"):
        answer = patient.get(f"{served.url}/replay/massive/{name}/v2/aggs/grouped/locale/us/market/stocks/2021-05-18")
        assert (answer.status_code, answer.content) == (200, (prices / "massive" / name).read_bytes())
    assert patient.get(f"{served.url}/replay/nothing.json").status_code == 404
    assert patient.get(f"{served.url}/replay/..%2F..%2FREADME.md").status_code == 404


@pytest.mark.samples
@pytest.mark.parametrize(
    ("vendor", "path", "file"),
    [
        (
            "alpha_vantage",
            "/query?function=TIME_SERIES_DAILY&symbol=IBM&datatype=csv",
            "alphavantage/TIME_SERIES_DAILY_42a08190.csv",
        ),
        (
            "alpha_vantage",
            "/query?function=TIME_SERIES_DAILY_ADJUSTED&symbol=IBM",
            "alphavantage/daily_adjusted_compact_IBM_2024-06-07.json",
        ),
        ("alpha_vantage", "/query?function=SPLITS&symbol=IBM&datatype=csv", "alphavantage/SPLITS_358e2618.csv"),
        (
            "polygon",
            "/v2/aggs/ticker/AAPL/range/1/day/2023-01-09/2023-02-10?adjusted=true",
            "massive/aggs_AAPL_1day_2023-01-09_2023-02-10_raw.json",
        ),
        (
            "polygon",
            "/v2/aggs/grouped/locale/us/market/stocks/2026-09-25?adjusted=false",
            "massive/grouped_2026-09-25_unadjusted_14rows_trimmed.json",
        ),
        ("polygon", "/v1/open-close/AAPL/2026-06-09", "massive/open_close_AAPL_2026-06-09.json"),
        ("polygon", "/v2/aggs/ticker/AAPL/prev", "massive/prev_AAPL_2026-06-09.json"),
    ],
)
def test_by_request(prices: Path, vendor: str, path: str, file: str) -> None:
    """A request as it was recorded gets the recorded answer, without key."""
    with running_vendor(vendor, generate_book(1, ["IBM"]), NOW, recordings=Recordings(prices)) as served:
        assert patient.get(f"{served.url}{path}").content == (prices / file).read_bytes()


def test_others_are_simulated(tmp_path: Path) -> None:
    """What was not recorded is answered by the simulator as without recordings."""
    recorded = {"file": "daily_compact_IBM.json", "endpoint": "TIME_SERIES_DAILY", "what": "recorded"}
    (tmp_path / "manifest.json").write_text(json.dumps([recorded]))
    (tmp_path / "daily_compact_IBM.json").write_bytes(b'{ "odd" :1}')
    book, recordings = generate_book(1, ["IBM", "KO"]), Recordings(tmp_path)
    with running_vendor("alpha_vantage", book, NOW, recordings=recordings, requests_per_second=9) as served:

        def ask(symbol: str) -> httpx2.Response:
            return patient.get(f"{served.url}/query?function=TIME_SERIES_DAILY&apikey=K&symbol={symbol}")

        assert ask("IBM").content == b'{ "odd" :1}'
        assert "Time Series (Daily)" in ask("KO").json()
        assert "premium feature" in ask("IBM&outputsize=full").text
        state: dict[str, Any] = patient.get(f"{served.url}/_simulator/vendor").json()
        assert state["recordings"] == ["daily_compact_IBM.json"]
        assert state["used"]["day"] == {"K": 2}


def test_folder_without_manifest(tmp_path: Path) -> None:
    """A folder without a manifest that can be read is refused."""
    with pytest.raises(UsageError, match=r"manifest\.json cannot be read"):
        Recordings(tmp_path)
