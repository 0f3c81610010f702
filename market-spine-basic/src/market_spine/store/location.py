"""Where a store is: the text of ``--db`` and ``DATABASE_URL``, understood."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Literal, NamedTuple

from market_spine.errors import UsageError
from market_spine.settings import trimmed

_FORMS = (
    "a file path, sqlite:///relative/path, sqlite:////absolute/path or postgresql://user:password@host:5432/database"
)
_ENCODE = "percent-encode every character of the user name, password and parameters but letters and digits"
_HOST = r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(?::([0-9]*))?"
_BAD_PERCENT = r"%(?![0-9A-Fa-f]{2})|%00"
_SCHEMA_BYTES = 63
_SEARCH_PATH = r"(?:-c\s*|--)search_path=\"?([^\s,\"]+)"


class StoreUrl(NamedTuple):
    """A store's address. Shown or printed it has no secrets; it may be pickled.

    Attributes:
        kind: which adapter opens it.
        path: the database file, relative to the working directory or absolute; PostgreSQL: the database's name.
        parameters: PostgreSQL: names and values as libpq takes them, the password among them.
        schema: PostgreSQL: the schema that was asked for, or empty.
    """

    kind: Literal["sqlite", "postgresql"]
    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    schema: str = ""

    @property
    def display(self) -> str:
        """How messages and logs name the store; never holds a password."""
        if self.kind == "sqlite":
            return self.path
        from urllib.parse import quote

        given = dict(self.parameters)
        user = f"{quote(given['user'])}@" if "user" in given else ""
        hosts = zip_longest(given.get("host", "").split(","), given.get("port", "").split(","), fillvalue="")
        places = ",".join(host + (f":{port}" if port else "") for host, port in hosts)
        return f"postgresql://{user}{places}/{quote(self.path)}"

    @property
    def digest(self) -> str:
        """SHA-256 of the address without its secrets: of equal ones, two processes have the same store."""
        from hashlib import sha256

        public = sorted((name, value) for name, value in self.parameters if not _is_secret(name))
        return sha256(repr((self.kind, self.path, public, self.schema)).encode()).hexdigest()

    @property
    def url(self) -> str:
        """The address as ``parse_url`` takes it, secrets included: for the environment of processes of our own."""
        if self.kind == "sqlite":
            return self.path
        from urllib.parse import quote

        given = dict(self.parameters) | ({"schema": self.schema} if self.schema else {})
        return "postgresql:///?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())

    def redact(self, text: str) -> str:
        """The text without any secret of this address."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _secrets(self) -> Iterator[str]:
        from urllib.parse import quote

        for name, value in self.parameters:
            if value and _is_secret(name):
                yield from (value, quote(value), quote(value, safe=""))

    def __str__(self) -> str:
        return self.display

    def __repr__(self) -> str:
        return f"StoreUrl({self.display!r})"


def _is_secret(name: str) -> bool:
    return "password" in name or "secret" in name


def parse_url(text: str) -> StoreUrl:
    """Understand a path or URL, without blanks around it; raises UsageError.

    The text itself is never repeated in an error about a URL, because a URL may hold a password.
    """
    text = trimmed("--db or DATABASE_URL", text)
    scheme, separator, rest = text.partition("://")
    if not separator:
        if not text:
            raise UsageError("--db or DATABASE_URL: the address is empty", hint=f"give {_FORMS}")
        if ":" in text.rpartition("@")[0]:
            # A misspelt URL, whose password must not be told as part of a file's name.
            raise UsageError("--db or DATABASE_URL: the address has a login but no ://", hint=f"give {_FORMS}")
        return StoreUrl("sqlite", text)
    if scheme in ("postgresql", "postgres"):
        return _postgresql(rest)
    if scheme != "sqlite":
        raise UsageError("--db or DATABASE_URL: databases of this kind are not supported", hint=f"give {_FORMS}")
    if not rest.startswith("/") or rest == "/":
        raise UsageError(
            "--db or DATABASE_URL: an sqlite:// address needs three slashes and a path", hint=f"give {_FORMS}"
        )
    return StoreUrl("sqlite", rest[1:])


def _postgresql(rest: str) -> StoreUrl:
    from urllib.parse import unquote

    # Stricter than libpq, whose complaints about an odd address repeat the part that it took for a host or
    # a port: that may be half a password.
    if "\0" in rest or re.search(_BAD_PERCENT, rest):
        raise UsageError("--db or DATABASE_URL: the address has a % that begins no character", hint=_ENCODE)
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    login, _, hosts = authority.rpartition("@")
    if "@" in login or "@" in database or "@" in query or "/" in database:
        raise UsageError("--db or DATABASE_URL: the address has an unexpected @ or /", hint=_ENCODE)
    user, _, password = login.partition(":")
    given = {"user": user, "password": password, "dbname": database, **_hosts(hosts), **_query(query)}
    parameters = {name: unquote(value) for name, value in given.items() if value}
    schema = parameters.pop("schema", "")
    if not schema and (found := re.search(_SEARCH_PATH, parameters.get("options", ""))):
        schema = found[1]
    if (size := len(schema.encode())) > _SCHEMA_BYTES:
        raise UsageError(
            f"the schema's name is {size} bytes long, of which PostgreSQL would keep {_SCHEMA_BYTES}",
            hint="choose a shorter name",
        )
    path = parameters.get("dbname", parameters.get("user", ""))
    return StoreUrl("postgresql", path, tuple(parameters.items()), schema)


def _hosts(text: str) -> dict[str, str]:
    matches = [re.fullmatch(_HOST, each) for each in text.split(",")]
    found = [(match[1].strip("[]"), match[2] or "") for match in matches if match]
    if len(found) != len(matches):
        raise UsageError("--db or DATABASE_URL: the address has a host or port that is none", hint=_ENCODE)
    ports = ",".join(port for _, port in found)
    return {"host": ",".join(host for host, _ in found), "port": ports if ports.strip(",") else ""}


def _query(text: str) -> dict[str, str]:
    pairs = [item.partition("=") for item in text.split("&") if item]
    if any(not separator or not re.fullmatch(r"\w+", name) for name, separator, _ in pairs):
        raise UsageError("--db or DATABASE_URL: the address has a parameter that is not name=value", hint=_ENCODE)
    return {name: value for name, _, value in pairs}
