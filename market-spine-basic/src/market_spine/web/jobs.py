"""What is started from a page: the same commands that a person would type, as processes of their own."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from market_spine.core.ports import Clock
from market_spine.errors import UsageError

_LINES = 200
"""Lines of the log that are kept."""
_MOST = 64_000_000
"""Most characters of a result."""
_KEPT = 50
"""Jobs that have ended and are still shown."""


@dataclass
class Job:
    """One command that was started.

    Attributes:
        name: its id.
        domain: short name of the domain it is for; one at a time.
        words: the command, for people.
        who: who started it.
        started_at: when.
    """

    name: str
    domain: str
    words: str
    who: str
    started_at: datetime
    process: subprocess.Popen[str]
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    answer: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended and all it said was read."""
        return self.process.returncode if self.ended.is_set() else None

    @property
    def result(self) -> dict[str, Any] | None:
        """The result it answered with, if it is one."""
        with suppress(ValueError):
            found = json.loads(self.answer)
            return found if isinstance(found, dict) else None
        return None


class Desk:
    """Starts commands, one at a time for each domain, and remembers them while the console runs."""

    def __init__(self, program: Sequence[str], database: str, clock: Clock) -> None:
        self._program = tuple(program)
        self._database = database
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(self, domain: str, arguments: Sequence[str], who: str) -> Job:
        """Start ``market-spine ARGUMENTS`` for a domain.

        Raises:
            UsageError: another command of the domain is running, or it cannot be started.
        """
        with self._lock:
            if running := self.running(domain):
                raise UsageError(
                    f"{running.words} is running, started by {running.who}",
                    hint="wait until it has ended, or stop it on its page",
                )
            job = self._started(domain, arguments, who)
            self._jobs[job.name] = job
            for name in [name for name, each in self._jobs.items() if each.ended.is_set()][:-_KEPT]:
                del self._jobs[name]
        threading.Thread(target=_listen, args=(job,), daemon=True, name=f"job {job.name}").start()
        return job

    def _started(self, domain: str, arguments: Sequence[str], who: str) -> Job:
        environment = {**os.environ, "MARKET_SPINE_STARTED_BY": who}
        if self._database:
            # Not among the arguments: others on the machine see those, and it may hold a password.
            environment["DATABASE_URL"] = self._database
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of words, none of them read by a shell
                [*self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UsageError(f"{self._program[0]} cannot be started: {error}", hint="see --action-command") from error
        words = shlex.join(["market-spine", *arguments])
        return Job(secrets.token_hex(8), domain, words, who, self._clock(), process)

    def running(self, domain: str) -> Job | None:
        """What is running for a domain."""
        return next((each for each in self._jobs.values() if each.domain == domain and not each.ended.is_set()), None)

    def find(self, name: str) -> Job | None:
        """A job by its id."""
        return self._jobs.get(name)

    def stop(self, job: Job) -> None:
        """Ask it to end: a partition in hand is finished, and the result written."""
        if not job.ended.is_set():
            with suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGTERM)


def _listen(job: Job) -> None:
    """Take what it says until it has ended."""
    out, errors = job.process.stdout, job.process.stderr
    assert out is not None
    assert errors is not None
    log = threading.Thread(target=_keep, args=(errors, job.log), daemon=True)
    log.start()
    job.answer = out.read(_MOST)
    while out.read(_MOST):  # a result larger than that is none, and must not stand in the way
        job.answer = ""
    job.process.wait()
    log.join()
    out.close()
    errors.close()
    job.ended.set()


def _keep(lines: IO[str], log: deque[str]) -> None:
    for line in lines:
        log.append(line.rstrip("\n")[:2000])
