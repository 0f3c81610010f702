"""Who asks: whoever is on this machine, somebody whom a trusted proxy names, or somebody who has the token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Protocol

from market_spine.errors import UsageError

COOKIE = "market_spine"
_LONGEST = 200
_LEAST_TOKEN = 16


class Identity(Protocol):
    """Tells who asks."""

    @property
    def login(self) -> bool:
        """Whether somebody who is not known may say who they are, on a page for that."""

    def who(self, address: str, headers: Mapping[str, Sequence[str]]) -> str | None:
        """The name of whoever asks from an address with these headers; None: nobody who may."""


@dataclass(frozen=True, slots=True)
class Local:
    """Nobody but this machine reaches the console: whoever asks is who runs it."""

    name: str
    login: bool = False

    def who(self, address: str, headers: Mapping[str, Sequence[str]]) -> str | None:
        """The name of who runs the console."""
        return self.name


@dataclass(frozen=True, slots=True)
class Proxied:
    """A proxy that has asked people who they are names them in a header; from others the header counts for nothing.

    Attributes:
        header: the header's name, in small letters.
        networks: where the proxy asks from.
    """

    header: str
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    login: bool = False

    @classmethod
    def of(cls, header: str, networks: Sequence[str]) -> Proxied:
        """Raises UsageError for no or wrong networks."""
        if not networks:
            raise UsageError("--trusted-proxy is needed with --proxy-header", hint="such as 10.0.0.0/8 or 127.0.0.1")
        try:
            found = tuple(ipaddress.ip_network(each) for each in networks)
        except ValueError as error:
            raise UsageError(f"--trusted-proxy: {error}", hint="such as 10.0.0.0/8 or 127.0.0.1") from error
        return cls(header.lower(), found)

    def who(self, address: str, headers: Mapping[str, Sequence[str]]) -> str | None:
        """Whom the proxy names, if it is the proxy that asks and it names one person."""
        try:
            asks = ipaddress.ip_address(address)
        except ValueError:
            return None
        named = headers.get(self.header, ())
        if len(named) != 1 or not any(asks in network for network in self.networks):
            return None
        name = named[0].strip()
        return name if name and name.isprintable() and len(name) <= _LONGEST else None


@dataclass(frozen=True, slots=True)
class Token:
    """Whoever has the token may ask; a cookie says that they had it. It is good until the console ends."""

    token: str = field(repr=False)
    name: str = "token"
    login: bool = True
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @classmethod
    def read(cls, path: Path) -> Token:
        """The token in a file; raises UsageError if it cannot be read or is short."""
        try:
            token = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--token-file: {path} cannot be read: {error}") from error
        if len(token) < _LEAST_TOKEN:
            raise UsageError(
                f"--token-file: the token in {path} has fewer than {_LEAST_TOKEN} characters",
                hint="make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
            )
        return cls(token)

    def who(self, address: str, headers: Mapping[str, Sequence[str]]) -> str | None:
        """The name of everybody with the cookie."""
        cookies: SimpleCookie = SimpleCookie()
        for each in headers.get("cookie", ()):
            try:
                cookies.load(each)
            except CookieError:
                return None
        given = cookies.get(COOKIE)
        return self.name if given and hmac.compare_digest(given.value.encode(), self.cookie().encode()) else None

    def opens(self, given: str) -> bool:
        """Whether it is the token."""
        return hmac.compare_digest(given.strip().encode(), self.token.encode())

    def cookie(self) -> str:
        """What the cookie holds: it tells nothing of the token."""
        return hmac.new(self.key, self.token.encode(), "sha256").hexdigest()
