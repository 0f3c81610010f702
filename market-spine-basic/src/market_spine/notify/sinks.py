"""Where messages go: a JSON webhook, a Slack-shaped webhook, a command, and what Apprise reaches.

Each sink sends in bounded time and raises MarketSpineError, without the address, where a message did not arrive.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from market_spine import settings
from market_spine.errors import MarketSpineError, UsageError
from market_spine.notify.message import Message
from market_spine.notify.posting import pieces, post
from market_spine.sources.redaction import redact

COMMAND_SECONDS = 15.0
"""How long a command may take."""
_SERVICE = re.compile(r"([A-Za-z][A-Za-z0-9]*)://")
_EXCERPT = 200


class Sink(Protocol):
    """Somebody to be told. ``name`` is what ``core_notifications`` calls it."""

    @property
    def name(self) -> str: ...

    def send(self, message: Message) -> None:
        """Send it; raises MarketSpineError."""


@dataclass(frozen=True)
class Webhook:
    """A POST of the message's document."""

    url: str
    name: str = "webhook"

    def send(self, message: Message) -> None:
        """Post it."""
        post(_web("ALERT_WEBHOOK_URL", self.url), json=message.document())


@dataclass(frozen=True)
class Slack:
    """A POST of ``{"text": ...}``, which Slack, Mattermost and others take as a message."""

    url: str
    name: str = "slack"

    def send(self, message: Message) -> None:
        """Post it, with the three characters escaped that mean something there."""
        text = f"{message.title}\n{message.body}"
        for mark, spelt in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(mark, spelt)
        post(_web("ALERT_SLACK_URL", self.url), json={"text": text})


@dataclass(frozen=True)
class Command:
    """A program, without a shell, that reads the message's document from stdin."""

    line: str
    name: str = "command"

    def send(self, message: Message) -> None:
        """Run it; what it writes to stdout is not looked at."""
        try:
            words = shlex.split(self.line)
        except ValueError as error:
            raise UsageError("ALERT_COMMAND is no command line: a quote is not closed") from error
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command
                words,
                input=json.dumps(message.document()),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MarketSpineError(f"the command took longer than {COMMAND_SECONDS:g} s", kind="timeout") from error
        except (OSError, ValueError, IndexError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is empty"
            raise UsageError(f"ALERT_COMMAND cannot be started: {reason}") from error
        if done.returncode:
            hidden = [each for word in words for each in (word, *pieces(word))]
            told = " ".join(redact(done.stderr, filter(lambda each: len(each) > 5, hidden)).split())[-_EXCERPT:]
            raise MarketSpineError(
                f"the command ended with {done.returncode}: {told or 'it says nothing'}", kind="output"
            )


@dataclass(frozen=True)
class Apprise:
    """One of the services that the library Apprise reaches: mail, chats, pagers."""

    url: str
    name: str

    def send(self, message: Message) -> None:
        """Send it."""
        from market_spine.notify.others import send

        send(self.url, message)


def from_environment() -> list[Sink]:
    """Everybody who is to be told; raises UsageError where a file of a secret cannot be read."""
    found: list[Sink] = []
    if url := settings.secret("ALERT_WEBHOOK_URL"):
        found.append(Webhook(url))
    if url := settings.secret("ALERT_SLACK_URL"):
        found.append(Slack(url))
    if line := settings.secret("ALERT_COMMAND"):
        found.append(Command(line))
    names: list[str] = []
    for url in settings.secret("ALERT_APPRISE_URLS").split():
        names.append(service(url, names))
        found.append(Apprise(url, names[-1]))
    return found


def service(url: str, taken: Sequence[str]) -> str:
    """What an Apprise address is called: by its service, the second one of a service with a number."""
    match = _SERVICE.match(url)
    word = f"apprise {match[1].lower()}" if match else "apprise"
    count = sum(name.split(" #")[0] == word for name in taken)
    return f"{word} #{count + 1}" if count else word


def _web(variable: str, url: str) -> str:
    if not url.lower().startswith(("http://", "https://")):
        raise UsageError(f"{variable} is no http or https address")
    return url
