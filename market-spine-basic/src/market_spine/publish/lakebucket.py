"""The bucket that a lake lies in: S3, or what speaks like it.

Nothing is locked there. Whoever has replaced ``_current.json``, on the condition that it is still the one that was
read, has published; others who were at work then are refused, and their files go with the next publication. Who is to
remove files replaces it, too: so nobody can still name them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from market_spine import stopping
from market_spine.errors import MarketSpineError, StoreError, StoreLocked, StoreUnavailable, UsageError
from market_spine.publish.lakeplace import CURRENT, LOCK, OURS, parsed, write_rows

if TYPE_CHECKING:
    import polars as pl
    from obstore import UpdateVersion

T = TypeVar("T")
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\w!.*'()=-]+(?:/[\w!.*'()=-]+)*))?/?", re.ASCII)
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""One of them says who publishes."""
_CONNECT, _REQUEST, _RETRIES = timedelta(seconds=10), timedelta(minutes=2), timedelta(minutes=3)
_MOST = 600.0
"""Seconds after which a call is given up, whatever it waits for."""
_CODE, _STATUS = re.compile(r"<Code>(\w+)</Code>"), re.compile(r"status code: (\d{3})")
_LOST = ("ConditionalRequestConflict", "OperationAborted")
"""What S3 says while another writes the same object."""


class _Found(NamedTuple):
    tag: str
    content: bytes


class LakeBucket:
    """A bucket, or what lies below a prefix in it.

    Args:
        address: ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``. Credentials, region and endpoint come from the environment.
        retries: how often a request is sent again that met no answer, or that the server could not answer.

    Raises:
        UsageError: that is no such address, or the environment names no credentials.
        MarketSpineError: kind ``missing_extra`` without obstore.
    """

    def __init__(self, address: str, *, retries: int = 5) -> None:
        named = _ADDRESS.fullmatch(address)
        if named is None or {".", ".."} & set((named[2] or "").split("/")):
            # Not repeated: it may hold a password.
            raise UsageError(
                "--to: that is no address of a lake",
                hint="write s3://BUCKET/PREFIX, of letters, digits and -_.!*'()=, a bucket of at least three;"
                " credentials come by the environment",
            )
        if find_spec("obstore") is None:
            raise MarketSpineError(
                "--to: publishing to S3 needs obstore, which is not installed",
                hint="pip install 'market-spine-basic[s3]'",
                kind="missing_extra",
            )
        if not any(os.environ.get(name) for name in _CREDENTIALS):
            raise UsageError(
                f"--to: {address} needs credentials, and the environment names none",
                hint="set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; AWS_ENDPOINT_URL for another server",
            )
        from obstore.store import S3Store

        self.address = address.rstrip("/")
        self._tag: str | None = None
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        self._store = S3Store(
            named[1],
            prefix=named[2],
            client_options={"allow_http": plain, "connect_timeout": _CONNECT, "timeout": _REQUEST},
            retry_config={"max_retries": retries, "retry_timeout": _RETRIES},
        )

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish while the block goes on, beside others perhaps: the first one that commits has published."""
        if self._get(CURRENT) is None:
            found = [*self._names()]
            if found and LOCK not in found:
                raise UsageError(f"--to: {self.address} holds something that is no lake", hint="name another prefix")
        self._try_conditions()
        yield

    def _try_conditions(self) -> None:
        """Raise StoreUnavailable if the server overwrites what it is asked to leave alone."""
        self._replace(LOCK, b"", None)
        if self._replace(LOCK, b"", None) is not None or self._replace(LOCK, b"", '"0"') is not None:
            raise StoreUnavailable(
                f"--to: the server of {self.address} does not heed If-None-Match and If-Match, so that two publishers"
                " could overwrite each other",
                hint="publish to a folder, or to a server with conditional writes",
                kind="output",
            )

    def current(self) -> dict[str, Any] | None:
        """What the last publication said; None before the first one."""
        found = self._get(CURRENT)
        self._tag = found.tag if found else None
        return parsed(found.content, f"{self.address}/{CURRENT}") if found else None

    def write(self, name: str, frame: pl.DataFrame) -> None:
        """Add a data file."""
        file = BytesIO()
        write_rows(frame, file)
        # Its name is new, so that nothing is overwritten: a request that is sent twice must not be refused.
        self._put(name, file.getvalue(), "overwrite")

    def settle(self, tables: Sequence[str]) -> None:
        """An object is there for good once the server has said so."""

    def commit(self, content: bytes) -> None:
        """Replace what was read by ``current``; raises StoreLocked if somebody else has done so."""
        tag = self._replace(CURRENT, content, self._tag)
        if tag is None:
            # The answer to a request that did its work may be lost, and the request sent again.
            found = self._get(CURRENT)
            if found is None or found.content != content:
                raise StoreLocked(
                    f"--to: another process has published to {self.address} meanwhile",
                    hint="run again: what it left out is published then",
                )
            tag = found.tag
        self._tag = tag

    def put(self, name: str, content: bytes) -> None:
        """Let a file be there whole; it is left to whoever has published since."""
        while True:
            there = self._get(name)
            if there is not None and there.content == content:
                return
            current = self._get(CURRENT)
            if current is None or current.tag != self._tag:
                return
            if self._replace(name, content, there.tag if there else None) is not None:
                return

    def files(self) -> Iterator[str]:
        """The names of all data files that there are, whichever publication they are of."""
        return filter(OURS.fullmatch, self._names())

    def remove(self, name: str) -> None:
        """Remove a data file."""
        import obstore

        self._ask(lambda: obstore.delete(self._store, name), "written")

    def _names(self) -> list[str]:
        import obstore

        return self._ask(lambda: [each["path"] for page in obstore.list(self._store) for each in page], "read")

    def _get(self, name: str) -> _Found | None:
        import obstore

        def get() -> _Found | None:
            try:
                found = obstore.get(self._store, name)
            except FileNotFoundError:
                return None
            return _Found(str(found.meta["e_tag"]), bytes(found.bytes()))

        return self._ask(get, "read")

    def _replace(self, name: str, content: bytes, tag: str | None) -> str | None:
        """Put an object in the place of the one with a tag, or where none is; None if that is not what is there."""
        return self._put(name, content, {"e_tag": tag} if tag else "create")

    def _put(self, name: str, content: bytes, mode: Literal["create", "overwrite"] | UpdateVersion) -> str | None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def put() -> str | None:
            try:
                return obstore.put(self._store, name, content, mode=mode, use_multipart=False)["e_tag"]
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:
                # The object that was to be replaced; or the bucket.
                if isinstance(mode, str):
                    raise
                return None

        return self._ask(put, "written")

    def _ask(self, call: Callable[[], T], what: str) -> T:
        """What a call answers, within a bound; what goes wrong says nothing that was sent."""
        from obstore.exceptions import BaseError

        try:
            # Beside this thread, so that it hears signals.
            return stopping.within(call, _MOST)
        except (BaseError, OSError) as error:
            problem = str(error)
        # Not the cause: its text repeats addresses, and answers that may repeat a key.
        raise self._error(problem, what)

    def _error(self, text: str, what: str) -> StoreError:
        code, status = _CODE.search(text), _STATUS.search(text)
        if code and code[1] in _LOST:
            return StoreLocked(f"--to: another process is publishing to {self.address}", hint="wait until it has ended")
        if code:
            reason = f"the server says {code[1]}"
        elif status:
            reason = f"the server answered {status[1]}"
        else:
            reason = "the server cannot be reached, or did not answer in time"
        return StoreUnavailable(
            f"--to: {self.address} cannot be {what}: {reason}",
            hint="check the bucket, AWS_ENDPOINT_URL, AWS_REGION and what the credentials allow",
            kind="output",
        )
