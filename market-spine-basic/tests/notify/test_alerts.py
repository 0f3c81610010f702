"""Alerts: one message when an anomaly opens, one when it is resolved, none lost and none told twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from market_spine import registry
from market_spine.compose import reader, utc_now
from market_spine.notify import alerts as alerts_module
from market_spine.notify.alerts import Alerts, reminder
from market_spine.notify.sinks import Webhook

pytestmark = pytest.mark.server


@pytest.fixture
def hook(receiver: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The receiver, named as the JSON webhook."""
    monkeypatch.setenv("ALERT_WEBHOOK_URL", receiver.url)
    return receiver


def events(receiver: Any) -> list[list[tuple[str, str, str]]]:
    """What each message told: event, partition and kind."""
    return [
        [(each["event"], each["partition_key"], each["kind"]) for each in message.document["events"]]
        for message in receiver.messages
    ]


def kept(database: str) -> list[tuple[str, ...]]:
    """What the database says was told."""
    with reader(database) as store:  # type: ignore[attr-defined]
        return [
            (each.notice.sink, each.notice.event, each.notice.partition_key, each.notice.kind)
            for each in store.notices("harbor")
        ]


def test_an_anomaly_seen_five_times_is_one_message_and_one_resolved(
    hook: Any, load: Callable[..., Any], quay: Path, database: str
) -> None:
    """Five runs that miss a day tell of it once; the run that finds it tells that it is over; later ones nothing."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    for _ in range(5):
        assert load(1, 2).code == 2
    assert events(hook) == [[("opened", "2025-03-02", "late")]]
    (quay / "2025-03-02.txt").write_text("ada 20\n")
    assert load(1, 2).code == 0
    assert load(1, 2).code == 0
    assert events(hook) == [[("opened", "2025-03-02", "late")], [("resolved", "2025-03-02", "late")]]
    first, second = (message.document["events"][0] for message in hook.messages)
    assert first["id"] == second["id"]
    assert (first["count"], second["count"]) == (1, 5)
    assert kept(database) == [
        ("webhook", "begun", "", ""),
        ("webhook", "opened", "2025-03-02", "late"),
        ("webhook", "resolved", "2025-03-02", "late"),
    ]


def test_a_run_is_one_message(hook: Any, load: Callable[..., Any], quay: Path) -> None:
    """A run that meets six troubles, and resolves another, sends one message with all of them."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1, 2)
    (quay / "2025-03-02.txt").write_text("ada 10\n")
    (quay / "2025-03-03.txt").write_text("<html>")
    load(2, 3, 4, 5, 6, 7, 8)
    assert len(hook.messages) == 2
    document = hook.messages[1].document
    assert [each["event"] for each in document["events"]] == ["opened"] * 6 + ["resolved"]
    assert document["title"] == "harbor: 6 new, 1 resolved"
    assert document["run"]["status"] == "partial"
    assert document["run"]["stats"]["failed"] == 6
    assert "NEW error html 2025-03-03: a web page, not landings (fetch the file again)" in document["text"]


def test_a_new_episode_is_told_anew(hook: Any, load: Callable[..., Any], quay: Path) -> None:
    """What is resolved and comes back is another episode, with another id."""
    path = quay / "2025-03-01.txt"
    for text in ("<html>", "ada 10\n", "<html>", "ada 11\n"):
        path.write_text(text)
        load(1)
    told = [each for message in events(hook) for each in message]
    assert [event for event, _, _ in told] == ["opened", "resolved"] * 2
    ids = [message.document["events"][0]["id"] for message in hook.messages]
    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_an_acknowledged_anomaly_is_not_told(hook: Any, load: Callable[..., Any], cli: Any, quay: Path) -> None:
    """What a person has set aside is told neither again nor as resolved."""
    load(1)
    assert cli("anomalies", "ack", "2025-03-01", "late", "--domain", "harbor", "--reason", "known").code == 0
    load(1)
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    assert events(hook) == [[("opened", "2025-03-01", "late")]]


def test_a_decision_tells_what_it_resolves(hook: Any, load: Callable[..., Any], cli: Any, quay: Path) -> None:
    """A capture that a guard held and a person accepts is told as resolved, by the decision itself."""
    path = quay / "2025-03-01.txt"
    path.write_text("".join(f"ship{at} 10\n" for at in range(40)))
    load(1)
    path.write_text("ship1 10\n")
    done = load(1, flags=("--json",))
    (event,) = hook.messages[0].document["events"]
    assert (event["event"], event["partition_key"], event["severity"]) == ("opened", "2025-03-01", "error")
    held = next(each["details"]["held_capture"] for each in json.loads(done.stdout)["anomalies"])
    assert cli("accept", held, "--reason", "a quiet day").code == 0
    assert events(hook)[1:] == [[("resolved", "2025-03-01", event["kind"])]]


def test_past_episodes_are_no_news(
    receiver: Any, load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink that is new is told what is open, and nothing of what was over before."""
    load(1)
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1, 2)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", receiver.url)
    load(1, 2)
    assert events(receiver) == [[("opened", "2025-03-02", "late")]]


def test_what_came_and_went_unseen_is_told_once(
    hook: Any, load: Callable[..., Any], quay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An episode that opened and ended while nobody could be told is told when it can be, as resolved."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    monkeypatch.delenv("ALERT_WEBHOOK_URL")
    load(2)
    (quay / "2025-03-02.txt").write_text("ada 10\n")
    load(2)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", hook.url)
    load(2)
    load(2)
    assert events(hook) == [[("resolved", "2025-03-02", "late")]]


def test_a_message_that_does_not_arrive_is_sent_again(hook: Any, load: Callable[..., Any], database: str) -> None:
    """A sink that refuses costs a log line, not the exit code, and is told at the next run."""
    hook.status, hook.echo = 500, True
    done = load(1)
    assert done.code == 1
    assert "webhook was not told" in done.stderr
    assert "hush" not in done.stdout + done.stderr
    assert kept(database) == []
    hook.status = 200
    hook.messages.clear()
    load(1)
    assert events(hook) == [[("opened", "2025-03-01", "late")]]


def test_one_sink_that_fails_does_not_keep_the_others(
    hook: Any, load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: str
) -> None:
    """Each sink is told and remembered by itself."""
    monkeypatch.setenv("ALERT_SLACK_URL", "http://127.0.0.1:1/hush-5f0c9a31")
    monkeypatch.setenv(
        "ALERT_COMMAND", f'{sys.executable} -c \'import sys; open("{tmp_path}/out", "a").write(sys.stdin.read())\''
    )
    done = load(1)
    assert "slack was not told" in done.stderr
    assert {(sink, event) for sink, event, _, _ in kept(database)} == {
        (sink, event) for sink in ("webhook", "command") for event in ("begun", "opened")
    }
    (event,) = json.loads((tmp_path / "out").read_text())["events"]
    assert event["kind"] == "late"
    assert len(hook.messages) == 1


def test_dry_runs_tell_nobody(hook: Any, load: Callable[..., Any], database: str) -> None:
    """A dry run that misses a day tells nobody."""
    assert load(1, flags=("--mode", "dry-run")).code == 1
    assert hook.messages == []


def test_a_failing_window_is_told_and_told_as_over(hook: Any, load: Callable[..., Any], quay: Path) -> None:
    """A calculation over neighbours that fails leaves no anomaly; it is told once, and when it works again."""
    (quay / "2025-03-01.txt").write_text("ada 666\n")
    assert load(1).code == 1
    load(1)
    (quay / "2025-03-01.txt").write_text("ada 665\n")
    assert load(1).code == 0
    assert events(hook) == [[("opened", "2025-03-01", "internal")], [("resolved", "2025-03-01", "internal")]]


def test_a_run_that_cannot_begin_is_told_once(
    hook: Any, load: Callable[..., Any], quay: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A critical error is told when it comes, not again while it lasts, and when a run gets past it."""
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    for _ in range(3):
        assert load(1, flags=("--workers", "0")).code == 1
    assert load(1).code == 0
    assert events(hook) == [[("opened", "", "usage")], [("resolved", "", "usage")]]


def test_a_flag_that_the_command_does_not_have_is_told(hook: Any, load: Callable[..., Any]) -> None:
    """A job whose command line is wrong never gets as far as its database; it is told each time."""
    for _ in range(2):
        assert load(1, flags=("--nonsense",)).code == 1
    assert events(hook) == [[("opened", "", "usage")]] * 2


def test_an_unreachable_database_is_told(
    hook: Any, harbor: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the database cannot be used nobody knows what was told: the run's failure is told each time."""
    from market_spine.cli.main import root, run

    hook.messages.clear()
    nowhere = f"{tmp_path}/absent/harbor.db"
    flags = ["--days", "2025-03-01", "--data-dir", str(tmp_path), "--db", nowhere]
    assert run(root, ["schedule", "harbor", *flags], "market-spine") == 1
    (message,) = hook.messages
    (event,) = message.document["events"]
    assert (event["event"], event["partition_key"], event["kind"]) == ("opened", "", "store_unavailable")
    assert "what else is open could not be read" in message.document["text"]


KILLED = """\
import os, signal, sys
from market_spine.cli.main import root, run
from market_spine.notify import sinks
from market_spine.store.writer import StoreWriter
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "before":
    sinks.Webhook.send = die
else:
    StoreWriter.record_notices = die
run(root, sys.argv[2:], "market-spine")
"""


@pytest.mark.process
@pytest.mark.parametrize(("where", "messages"), [("before", 1), ("after", 2)])
def test_a_kill_between_commit_and_send_loses_none(
    hook: Any, load: Callable[..., Any], quay: Path, database: str, tiny_site: Path, where: str, messages: int
) -> None:
    """SIGKILL after the run is committed and before the message is sent: the next run sends it. Between sending and
    recording that: it is repeated, with the same id."""
    arguments = ["schedule", "harbor", "--days", "2025-03-01", "--data-dir", str(quay), "--run-date", "2025-03-10"]
    environ = {**os.environ, "PYTHONPATH": str(tiny_site)}
    command = [sys.executable, "-c", KILLED, where, *arguments, "--db", database]
    done = subprocess.run(command, env=environ, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    with reader(database) as store:  # type: ignore[attr-defined]
        assert [each.anomaly.kind for each in store.anomalies("harbor")] == ["late"]
    load(1)
    load(1)
    assert events(hook) == [[("opened", "2025-03-01", "late")]] * messages
    assert len({message.document["events"][0]["id"] for message in hook.messages}) == 1


def test_what_is_due_can_be_sent_by_hand(
    receiver: Any, load: Callable[..., Any], cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``market-spine notify`` sends what is due of every domain, says so, and then there is nothing left."""
    load(1)
    assert cli("notify").code == 1
    monkeypatch.setenv("ALERT_WEBHOOK_URL", receiver.url)
    done = cli("notify", "--json")
    assert done.code == 0
    assert json.loads(done.stdout) == [
        {"sink": "webhook", "domain": "harbor", "events": 1, "arrived": True, "error": None}
    ]
    assert cli("notify").stdout == "nothing is due\n"
    assert events(receiver) == [[("opened", "2025-03-01", "late")]]


@pytest.mark.parametrize(
    ("text", "span"),
    [("", timedelta(7)), ("2d", timedelta(2)), ("12h", timedelta(hours=12)), ("never", None), ("0d", timedelta(7))],
)
def test_the_reminder_is_a_setting(monkeypatch: pytest.MonkeyPatch, text: str, span: timedelta | None) -> None:
    """Days, hours or never; anything else is a log line and the default."""
    monkeypatch.setenv("ALERT_REMIND", text)
    assert reminder() == span


def test_what_lasts_is_told_again_after_the_reminder(hook: Any, load: Callable[..., Any], database: str) -> None:
    """An anomaly that is still open a week after it was told is told again, and then a week later."""
    load(1)
    for days, count in ((6, 1), (8, 2), (9, 2), (16, 3)):
        alerts = Alerts([Webhook(hook.url)], database, timedelta(7), lambda days=days: utc_now() + timedelta(days))
        alerts.latest("harbor")
        assert len(hook.messages) == count
    assert hook.messages[1].document["title"] == "harbor: 1 still"


def test_a_hanging_sink_is_left_behind(hook: Any, load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that never comes back costs bounded time and a log line."""
    from threading import Event

    forever = Event()
    monkeypatch.setattr(alerts_module, "SINK_SECONDS", 0.05)
    monkeypatch.setattr(Webhook, "send", lambda *_: forever.wait())
    done = load(1)
    forever.set()
    assert done.code == 1
    assert "webhook was not told: not done within 0.05 s" in done.stderr


def test_what_was_told_survives_a_rebuild(
    hook: Any, load: Callable[..., Any], cli: Any, database: str, tmp_path: Path, new_target: Callable[[], str]
) -> None:
    """A rebuilt database knows what was told, as of the same moments, and tells nothing twice."""
    load(1)
    target = new_target()
    from market_spine.cli.main import root, run

    assert run(root, ["rebuild", "--db", database, "--into", target], "market-spine") == 0
    with reader(database) as old, reader(target) as new:  # type: ignore[attr-defined]
        assert list(old.notices("harbor")) == list(new.notices("harbor")) != []
    Alerts([Webhook(hook.url)], target, timedelta(7)).latest("harbor")
    assert len(hook.messages) == 1


@pytest.fixture
def new_target(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Callable[[], str]:
    """The address of another new store of the same kind."""
    if database.startswith("postgres"):
        make: Callable[[], str] = request.getfixturevalue("new_postgres")
        return make
    return lambda: str(tmp_path / "rebuilt.db")


def test_what_was_told_can_be_read(hook: Any, load: Callable[..., Any], cli: Any, quay: Path) -> None:
    """``core_notifications`` answers SQL, now and as of a moment before."""
    load(1)
    before = utc_now().isoformat()
    (quay / "2025-03-01.txt").write_text("ada 10\n")
    load(1)
    sql = "SELECT sink, event, partition_key, kind, severity FROM core_notifications WHERE event <> 'begun' ORDER BY 2"
    told = {"sink": "webhook", "partition_key": "2025-03-01", "kind": "late", "severity": "error"}
    now = json.loads(cli("query", sql, "--format", "json").stdout)
    assert now == [{**told, "event": "opened"}, {**told, "event": "resolved"}]
    then = json.loads(cli("query", sql, "--format", "json", "--as-of", before).stdout)
    assert then == [{**told, "event": "opened"}]


def test_every_installed_domain_is_looked_at(hook: Any, cli: Any, load: Callable[..., Any]) -> None:
    """``notify`` asks every domain, also those that have nothing."""
    load(1)
    assert {each.name for each in registry.domains()} > {"harbor"}
    assert cli("notify").stdout == "nothing is due\n"
