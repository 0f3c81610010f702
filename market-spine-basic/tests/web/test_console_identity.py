"""Who is let in: whom a trusted proxy names, and who has the token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from market_spine.errors import UsageError
from market_spine.web.app import application
from market_spine.web.identity import Proxied, Token

from .conftest import Story

TOKEN = "a-token-of-some-length"
BASE = "http://127.0.0.1:8642"


def behind(story: Story, identity: Proxied | Token, address: str = "10.1.2.3") -> TestClient:
    """A client that asks from an address."""
    app = application(replace(story.console(), identity=identity))
    return TestClient(app, base_url=BASE, client=(address, 50_000), follow_redirects=False)


def test_whom_the_proxy_names_is_let_in(story: Story) -> None:
    """The proxy's header counts when the proxy asks, and names one person."""
    identity = Proxied.of("X-Forwarded-User", ["10.0.0.0/8"])
    visit = behind(story, identity)
    assert visit.get("/", headers={"x-forwarded-user": "ada"}).status_code == 200
    for headers in ({}, {"x-forwarded-user": " "}, {"x-forwarded-user": "a" * 300}, {"x-forwarded-email": "ada"}):
        assert visit.get("/", headers=headers).status_code == 403
    twice = [("x-forwarded-user", "ada"), ("x-forwarded-user", "eve")]
    assert visit.get("/", headers=twice).status_code == 403


@pytest.mark.parametrize("address", ["192.0.2.7", "127.0.0.1", "::1", "nonsense"])
def test_from_others_the_header_counts_for_nothing(story: Story, address: str) -> None:
    """Whoever sends the header without being the proxy is not let in, in no form and to no page."""
    visit = behind(story, Proxied.of("X-Forwarded-User", ["10.0.0.0/8"]), address)
    for path in ("/", "/index.json", "/query.csv?sql=SELECT+1", "/metrics", "/payloads/" + "0" * 64, "/nothing"):
        assert visit.get(path, headers={"x-forwarded-user": "ada"}).status_code == 403
    assert visit.get("/healthz").status_code == 200
    assert visit.get("/readyz").status_code == 200


def test_the_token_opens(story: Story) -> None:
    """Without the cookie every page leads to the log-in; the token gives a cookie that no script reads."""
    visit = behind(story, Token(TOKEN))
    assert visit.get("/runs").headers["location"] == "/login"
    assert visit.post("/actions/backfill", headers={"origin": BASE}, data={"a": "b"}).status_code == 403
    assert visit.get("/login").status_code == 200
    wrong = visit.post("/login", data={"token": "another-token-of-length"}, headers={"origin": BASE})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (403, False)
    assert visit.post("/login", data={"token": TOKEN}).status_code == 403  # not from a page of ours
    right = visit.post("/login", data={"token": TOKEN}, headers={"origin": BASE})
    assert right.status_code == 303
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert visit.get("/runs").status_code == 200


@pytest.mark.parametrize("cookie", ["market_spine=", f"market_spine={TOKEN}", "market_spine=" + "0" * 64, "=;;", "a"])
def test_a_cookie_that_was_made_up_does_not_open(story: Story, cookie: str) -> None:
    """Neither the token itself nor anything guessed is a cookie."""
    assert behind(story, Token(TOKEN)).get("/", headers={"cookie": cookie}).status_code == 303


def test_a_cookie_is_good_for_one_console(story: Story) -> None:
    """A console that was started anew does not know the cookies of before."""
    assert Token(TOKEN).cookie() != Token(TOKEN).cookie()
    assert TOKEN not in repr(Token(TOKEN))


@pytest.mark.parametrize("text", ["", "short", "x" * 15])
def test_a_token_has_to_be_long(tmp_path: Path, text: str) -> None:
    """A token that could be guessed is refused, and not repeated."""
    path = tmp_path / "token"
    path.write_text(text + "\n", "utf-8")
    with pytest.raises(UsageError, match="fewer than 16") as caught:
        Token.read(path)
    assert not text or text not in caught.value.message.replace(str(path), "")
    path.write_text(TOKEN + "\n", "utf-8")
    assert Token.read(path).opens(TOKEN)
    with pytest.raises(UsageError, match="cannot be read"):
        Token.read(tmp_path / "none")


@pytest.mark.parametrize("networks", [[], ["nonsense"], ["10.0.0.1/8"]])
def test_a_proxy_needs_a_place(networks: list[str]) -> None:
    """A header without the networks that it may come from is refused."""
    with pytest.raises(UsageError, match="--trusted-proxy"):
        Proxied.of("X-Forwarded-User", networks)
