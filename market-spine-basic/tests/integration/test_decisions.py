"""``accept``, ``retract`` and ``anomalies ack``: what each does, answers and keeps, on every store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from market_spine.app.scheduling import SchedulerResult
from market_spine.cli.main import root, run

GOOD, SMALL, LARGE = "ada 10\nbela 20\ncleo 30\n", "ada 10\n", "ada 10\nbela 20\ncleo 31\n"


class Harbor:
    """The tiny domain's commands over one database and one folder, in this process."""

    def __init__(self, folder: Path, db: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.db, self.capsys = folder, db, capsys
        folder.mkdir()

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = run(root, [*arguments, "--db", self.db], "market-spine")
        told = self.capsys.readouterr()
        return code, told.out, told.err

    def load(self, text: str, *flags: str, day: str = "2025-03-01") -> SchedulerResult:
        """Load a day's file."""
        (self.folder / f"{day}.txt").write_text(text)
        asked = ("--days", day, "--data-dir", str(self.folder), "--run-date", "2025-03-04")
        _, out, _ = self("schedule", "harbor", *asked, "--json", *flags)
        return SchedulerResult.from_json(out)

    def decide(self, *arguments: str) -> SchedulerResult:
        """A decision's answer; its exit code is the result's."""
        code, out, _ = self(*arguments, "--json")
        result = SchedulerResult.from_json(out)
        assert code == result.exit_code
        return result

    def rows(self, table: str = "harbor_landing", as_of: str | None = None) -> list[tuple[Any, ...]]:
        """The table's values."""
        columns = {"harbor_landing": "ship, tons", "harbor_recent": "days, tons"}[table]
        sql = f"SELECT {columns} FROM {table} WHERE day = '2025-03-01' ORDER BY 1"
        _, out, _ = self("query", sql, "--format", "json", *(["--as-of", as_of] if as_of else []))
        return [tuple(row.values()) for row in json.loads(out)]

    def captures(self) -> list[dict[str, Any]]:
        """What ``captures`` lists."""
        return list(json.loads(self("captures", "2025-03-01", "--domain", "harbor", "--json")[1])["captures"])

    def state(self) -> str:
        """The day's state."""
        _, out, _ = self("status", "--domain", "harbor", "--run-date", "2025-03-04", "--json")
        states = {each["partition_key"]: str(each["state"]) for each in json.loads(out)[0]["partitions"]}
        return states["2025-03-01"]


@pytest.fixture
def port(
    harbor: None,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Harbor:
    """The harbor over a fresh database."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    db = request.getfixturevalue("new_postgres")() if request.param == "postgresql" else str(tmp_path / "harbor.db")
    return Harbor(tmp_path / "landings", db, capsys)


both = pytest.mark.parametrize("port", ["sqlite", "postgresql"], indirect=True)


@both
def test_accept_lets_one_held_capture_through(port: Harbor) -> None:
    """It becomes current with its windows; who, why and past which guard is kept; the next one is guarded again."""
    port.load(GOOD)
    assert port.load(SMALL).runs[0].status == "failed" and port.state() == "held"
    held = port.captures()[1]["capture_id"]
    result = port.decide("accept", held, "--reason", "two ships are out of service", "--by", "ann")
    assert (result.status, result.scheduler, result.stats.succeeded) == ("success", "accept", 1)
    first = result.runs[0]
    assert (first.pipeline, first.capture_id, first.row_count, first.is_revision) == ("harbor.accept", held, 1, True)
    assert first.revision_summary is not None and first.revision_summary.rows_removed == 2
    assert port.rows() == [("ada", 10.0)] and port.rows("harbor_recent") == [(1, 10.0)]
    listed = port.captures()[1]
    assert (listed["status"], listed["overrode"]) == ("current", ["shrunk"])
    decision = listed["decisions"][0]
    assert (decision["verb"], decision["kind"], decision["by"]) == ("accept", "shrunk", "ann")
    assert port.state() == "revised"
    assert port.load(SMALL).runs[0].reason == "same_bytes"
    assert port.load("dora 1 x\n").runs[0].status == "failed"


@both
def test_retract_gives_back_what_was_known_without_it(port: Harbor) -> None:
    """The rows and windows before; the same bytes or rows are skipped, also under --force, until it is accepted."""
    port.load(GOOD)
    port.load(LARGE)
    first, second = (each["capture_id"] for each in port.captures())
    result = port.decide("retract", second, "--reason", "a typing error")
    change = result.runs[0].revision_summary
    assert result.status == "success" and result.runs[0].capture_id == first
    assert change is not None and (change.rows_added, change.rows_removed, change.rows_changed) == (0, 0, 1)
    assert port.rows()[2] == ("cleo", 30.0) and port.rows("harbor_recent") == [(1, 60.0)]
    assert port.rows(as_of=second)[2] == ("cleo", 31.0)
    assert [each["status"] for each in port.captures()] == ["current", "retracted"] and port.state() == "retracted"
    for flags in ((), ("--force",)):
        assert port.load(LARGE, *flags).runs[0].reason == "retracted"
    assert port.load("cleo 31\nbela 20\nada 10\n").runs[0].reason == "retracted"
    assert port.decide("retract", second, "--reason", "again").runs[0].reason == "retracted"
    assert port.decide("accept", second, "--reason", "it was right").status == "success"
    assert port.rows()[2] == ("cleo", 31.0) and port.load(LARGE).runs[0].reason == "same_bytes"


@both
def test_retracting_the_only_capture_leaves_nothing(port: Harbor) -> None:
    """No rows, no current capture; the next one is a first capture again, and as of before all stays readable."""
    port.load(GOOD)
    (only,) = (each["capture_id"] for each in port.captures())
    result = port.decide("retract", only, "--reason", "another day's file")
    assert (result.status, result.runs[0].capture_id, result.runs[0].row_count) == ("success", None, 0)
    assert port.rows() == [] and port.rows("harbor_recent") == [] and port.state() == "retracted"
    assert len(port.rows(as_of=only)) == 3
    assert port.load(GOOD).runs[0].reason == "retracted"
    loaded = port.load(LARGE).runs[0]
    assert (loaded.status, loaded.is_revision, loaded.revision_summary) == ("completed", False, None)
    assert port.state() == "captured"


@both
def test_force_is_a_decision_too(port: Harbor) -> None:
    """A forced run past a guard is kept as an accept, with the guard; one past nothing is none."""
    port.load(GOOD, "--force")
    port.load(SMALL, "--force")
    first, second = port.captures()
    assert (first["decisions"], second["overrode"]) == ([], ["shrunk"])
    assert second["decisions"][0]["reason"] == "--force"


@both
def test_an_acknowledged_anomaly_is_not_open(port: Harbor) -> None:
    """A partition asked for by mistake: late, then closed by a person with a reason."""
    port.load(GOOD)
    args = ("--days", "2024-01-05", "--data-dir", str(port.folder), "--run-date", "2025-03-04")
    assert port("schedule", "harbor", *args)[0] == 1
    assert [each["kind"] for each in json.loads(port("anomalies", "--json")[1])] == ["late"]
    ack = ("anomalies", "ack", "2024-01-05", "late", "--domain", "harbor", "--reason", "asked for by mistake")
    planned = port.decide(*ack, "--mode", "dry-run")
    assert planned.status == "dry_run" and len(json.loads(port("anomalies", "--json")[1])) == 1
    past = port.decide(*ack, "--until", "2024-12-31")
    error = past.runs[0].error
    assert past.exit_code == 1 and error is not None
    assert error.kind == "usage" and "2024-12-31 has passed" in error.message
    assert len(json.loads(port("anomalies", "--json")[1])) == 1
    done = port.decide(*ack, "--until", "2999-12-31")
    assert (done.status, done.runs[0].pipeline) == ("success", "harbor.ack")
    assert json.loads(port("anomalies", "--json")[1]) == []
    (shown,) = json.loads(port("anomalies", "--all", "--json")[1])
    assert shown["acknowledged_at"] is not None and shown["resolved_at"] is None
    assert port("schedule", "harbor", *args)[0] == 1
    assert json.loads(port("anomalies", "--json")[1]) == []


@both
def test_a_dry_run_decides_nothing(port: Harbor) -> None:
    """It answers with what would change, and the database stays as it was."""
    port.load(GOOD)
    port.load(LARGE)
    second = port.captures()[1]["capture_id"]
    before = port("query", "SELECT COUNT(*) FROM core_manifest", "--format", "json")[1]
    result = port.decide("retract", second, "--reason", "perhaps", "--mode", "dry-run")
    assert result.status == "dry_run" and result.runs[0].status == "planned"
    assert result.runs[0].revision_summary is not None and result.runs[0].revision_summary.rows_changed == 1
    assert port("query", "SELECT COUNT(*) FROM core_manifest", "--format", "json")[1] == before
    assert port.rows()[2] == ("cleo", 31.0)


@pytest.mark.parametrize("port", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("accept", "harbor:2025-03-01:20250304"), "--reason"),
        (("accept", "harbor:2025-03-01:20250304", "--reason", " "), "must say something"),
        (("retract", "harbor:nothing", "--reason", "r"), "no capture 'harbor:nothing'"),
        (("retract", "harbor:2025-03-01:20250304", "--reason", "r", "--mode", "maybe"), "--mode"),
        (("anomalies", "ack", "2025-03-01", "late", "--domain", "harbor", "--reason", "r"), "no open anomaly 'late'"),
        (
            ("anomalies", "ack", "2025-03-01", "late", "--reason", "r", "--until", "soon", "--domain", "harbor"),
            "--until",
        ),
    ],
)
def test_what_cannot_be_decided(port: Harbor, arguments: tuple[str, ...], said: str) -> None:
    """Exit 1 with what is wrong; with --json as one document of the contract; nothing is written."""
    port.load(GOOD)
    code, out, err = port(*arguments)
    assert code == 1 and said in out + err
    code, out, _ = port(*arguments, "--json")
    document = json.loads(out)
    problem = document["error"] if "error" in document else document["runs"][0]["error"]
    assert code == 1 and said in problem["message"]
    assert port.captures()[0]["decisions"] == []


@pytest.mark.parametrize("port", ["sqlite"], indirect=True)
def test_diff_and_payload_know_held_and_retracted(port: Harbor, tmp_path: Path) -> None:
    """With one accepted capture and one held, diff shows what accepting it would change, and says so."""
    port.load(GOOD)
    port.load(SMALL)
    held = port.captures()[1]["capture_id"]
    _, out, _ = port("diff", "2025-03-01", "--domain", "harbor")
    assert f"{held} is held: accepting it makes it current" in out and "2 removed" in out
    assert "(held)" in port("payload", held, "--out", str(tmp_path / "a"))[1]
    port.decide("retract", held, "--reason", "cut short")
    document = json.loads(port("diff", "2025-03-01", "--domain", "harbor", "--to", held, "--json")[1])
    assert (document["from_status"], document["to_status"], len(document["removed"])) == ("current", "retracted", 2)
    assert "(retracted)" in port("payload", held, "--out", str(tmp_path / "b"))[1]
    code, _, err = port("diff", "2025-03-01", "--domain", "harbor")
    assert code == 1 and f"{held} (retracted)" in err
