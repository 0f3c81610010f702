"""Sinks: what each is sent, what its failures say, and that no address is ever told."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from market_spine import registry
from market_spine.cli.main import root, run
from market_spine.errors import MarketSpineError
from market_spine.notify.message import Message
from market_spine.notify.sinks import Command, Slack, Webhook, from_environment
from market_spine.store import open_reader, parse_url

pytestmark = pytest.mark.server


def test_a_test_message_tries_every_sink(
    receiver: Any, harbor: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``notify --test`` needs no database, and answers for each sink whether the message arrived."""
    monkeypatch.setenv("ALERT_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("ALERT_SLACK_URL", f"{receiver.url}/slack")
    monkeypatch.setenv(
        "ALERT_APPRISE_URLS", f"jsons://127.0.0.1:1/hush-5f0c9a31 {receiver.url.replace('http', 'json')}/apprise"
    )
    assert run(root, ["notify", "--test", "--json", "--db", "/nowhere/at/all.db"], "market-spine") == 1
    out, err = capfd.readouterr()
    assert [(each["sink"], each["arrived"]) for each in json.loads(out)] == [
        ("webhook", True),
        ("slack", True),
        ("apprise jsons", False),
        ("apprise json", True),
    ]
    assert "hush" not in out + err
    assert receiver.paths == ["", "/slack", "/apprise"]
    assert "this is a test" in receiver.messages[1].document["text"]
    assert "this is a test" in receiver.messages[2].body


def test_slack_escapes_what_means_something_there(receiver: Any) -> None:
    """Ampersands and angle brackets of messages arrive as text."""
    Slack(receiver.url).send(Message("a<b>&c", (), None, "x"))
    assert receiver.messages[0].document == {"text": "a&lt;b&gt;&amp;c: x\n"}


@pytest.mark.process
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("false", "ended with 1"),
        ("/no/such/hush-5f0c9a31", "cannot be started: No such file"),
        ("   ", "cannot be started"),
        ("'unclosed hush-5f0c9a31", "a quote is not closed"),
        ("sh -c 'echo it is hush-5f0c9a31 >&2; exit 3' hush-5f0c9a31", "ended with 3: it is"),
    ],
)
def test_a_command_that_fails_says_why(line: str, told: str) -> None:
    """Of a command that fails the exit code and its last words are told, without what its command line has."""
    with pytest.raises(MarketSpineError) as caught:
        Command(line).send(Message("harbor", (), None, "x"))
    assert told in caught.value.message
    assert "hush" not in caught.value.message


def test_a_web_address_that_is_none_is_refused_unseen() -> None:
    """A webhook's address without http is a usage error that does not repeat it."""
    with pytest.raises(MarketSpineError, match="ALERT_WEBHOOK_URL is no http") as caught:
        Webhook("hush-5f0c9a31").send(Message("harbor", (), None, "x"))
    assert "hush" not in caught.value.message


def test_sinks_are_named_by_their_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise addresses are called by their service; a second one of a service has a number."""
    urls = "mailto://ann:pw@example.org slack://a/b/c\nmailto://bob:pw@example.org nonsense"
    monkeypatch.setenv("ALERT_APPRISE_URLS", urls)
    names = ["apprise mailto", "apprise slack", "apprise mailto #2", "apprise"]
    assert [sink.name for sink in from_environment()] == names


def secrets(number: int) -> list[str]:
    """Passwords as people and generators make them: also with the characters that mean something in addresses."""
    dice = Random(7)
    odd = "@:/?#[]!$&'()*+,;=%~^`{}|\\\"<> -_.äß€"
    cores = ["".join(dice.choice(string.ascii_letters + string.digits) for _ in range(8)) for _ in range(number)]
    heads = ["".join(dice.choice(string.ascii_letters + odd) for _ in range(dice.randint(0, 6))) for _ in cores]
    return [head + core for head, core in zip(heads, cores, strict=True)]


def test_no_address_of_those_who_are_told_is_ever_told(
    cli: Callable[..., Any], load: Callable[..., Any], quay: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses of health checks, webhooks and Apprise, and a command, all of which fail, with generated secrets in
    each of their parts: none appears in any output, log line, result or table."""
    (quay / "2025-03-02.txt").write_text("ada 10\n")
    calls: list[Callable[[], Any]] = [
        lambda: load(1, 2, flags=("--log-level", "DEBUG")),
        lambda: load(2, 3, flags=("--json", "--log-level", "DEBUG")),
        lambda: load(1, flags=("--nonsense",)),
        lambda: cli("notify", "--test"),
        lambda: cli("notify", "--json"),
    ]
    told = ""
    made = secrets(25)
    for at, secret in enumerate(made):
        coded = quote(secret, safe="")
        forms = (
            f"http://127.0.0.1:1/{coded}",
            f"http://ann:{coded}@127.0.0.1:1/x?token={coded}",
            f"http://127.0.0.1:{coded}/",
            f"http://127.0.0.1:1/{secret}",
            secret,
        )
        for place, name in enumerate(("HEALTHCHECK_URL", "ALERT_WEBHOOK_URL", "ALERT_SLACK_URL")):
            monkeypatch.setenv(name, forms[(at + place) % len(forms)])
        monkeypatch.setenv("OPENLINEAGE_URL", forms[at % len(forms)])
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__RETRY", '{"total": 0}')
        monkeypatch.setenv("OPENLINEAGE_API_KEY", secret)
        monkeypatch.setenv("ALERT_COMMAND", f"/no/such/program {coded}")
        monkeypatch.setenv("ALERT_APPRISE_URLS", f"json://ann:{coded}@127.0.0.1:1/{coded} {coded}")
        done = calls[at % len(calls)]()
        assert "webhook" in done.stdout + done.stderr
        told += done.stdout + done.stderr
    with open_reader(parse_url(database), registry.domains()) as store:
        for name in sorted(each for each in store._db.relations() if each.startswith("core_")):
            told += str(store.query(f"SELECT * FROM {name}").rows)
    for secret in made:
        for spelling in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]):
            assert spelling not in told


def test_a_text_is_short_and_a_document_is_whole() -> None:
    """Of a hundred episodes a text tells the first twenty and how many more there are; the document has them all."""
    from datetime import UTC, datetime

    from market_spine.notify.due import Episode, Item

    moment = datetime(2025, 3, 10, tzinfo=UTC)
    items = [
        Item("opened", Episode("harbor", f"p{at}", "late", "error", "m", "h", moment, moment, 1)) for at in range(100)
    ]
    message = Message("harbor", items)
    assert len(message.body.splitlines()) == 21
    assert message.body.endswith("... and 80 more: market-spine anomalies")
    assert len(message.document()["events"]) == 100
    assert message.title == "harbor: 100 new"


def test_a_partition_is_named_once() -> None:
    """A message that begins with its partition is not given it again; one that does not is."""
    from datetime import UTC, datetime

    from market_spine.notify.due import Episode, Item

    moment = datetime(2025, 3, 10, tzinfo=UTC)
    texts = ("2025-03-01 is not there", "half of the rows are gone")
    items = [
        Item("opened", Episode("harbor", "2025-03-01", "late", "error", text, "", moment, moment, 1)) for text in texts
    ]
    assert Message("harbor", items).body.splitlines() == [
        "NEW error late: 2025-03-01 is not there",
        "NEW error late 2025-03-01: half of the rows are gone",
    ]
