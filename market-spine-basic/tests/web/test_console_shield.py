"""What the console refuses, and what it says to every browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from market_spine.web.shield import POLICY, host_of

if TYPE_CHECKING:
    from starlette.testclient import TestClient


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "", "[::2]:8642", "localhost@evil.example"]
)
def test_a_foreign_host_is_refused(visit: TestClient, host: str) -> None:
    """A name that somebody pointed at this machine gets nothing, whatever the page."""
    for path in ("/", "/index.json", "/healthz", "/nothing"):
        answer = visit.get(path, headers={"host": host})
        assert answer.status_code == 400
        assert "--host-name" in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8642", "LOCALHOST", "[::1]:8642"])
def test_this_machine_is_answered(visit: TestClient, host: str) -> None:
    """Every name of this very machine is allowed, with any port."""
    assert visit.get("/", headers={"host": host}).status_code == 200


def test_names_of_hosts() -> None:
    """The name is read without its port, also in brackets."""
    assert [host_of(each) for each in ("A.b:1", "[::1]:2", "[::1]", "x")] == ["a.b", "::1", "::1", "x"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_only_reads(visit: TestClient, method: str) -> None:
    """Whatever would change something is refused."""
    assert visit.request(method, "/").status_code == 405


def test_a_long_query_is_refused(visit: TestClient) -> None:
    """A long query is refused before a page sees it."""
    assert visit.get("/?as_of=" + "x" * 60_000).status_code == 414


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2f..%2fapp.py",
        "/static//etc/passwd",
        "/d/..%2f..%2fetc/partitions",
        "/d/finra/p/..%2f..%2fetc%2fpasswd",
        "/static/%00",
    ],
)
def test_no_path_leads_out(visit: TestClient, path: str) -> None:
    """Paths that climb lead to nothing."""
    answer = visit.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize("path", ["/", "/index.json", "/nothing", "/healthz", "/d/finra/partitions.csv"])
def test_every_answer_is_guarded(visit: TestClient, path: str) -> None:
    """Each answer, errors included, carries the policy and is kept by nobody."""
    headers = visit.get(path).headers
    assert headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_assets_never_change(visit: TestClient) -> None:
    """The style sheet's address has its digest, and may be kept for ever."""
    import re

    (path,) = re.findall(r'href="(/static/[0-9a-f]{8}/spine\.css)"', visit.get("/").text)
    answer = visit.get(path)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
