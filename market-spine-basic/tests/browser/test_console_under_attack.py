"""What strangers and hostile data try against the console's process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest

from .conftest import Open, Shop, served

RUNAWAY = "SELECT COUNT(*) FROM finra_otc_venue_volume a, finra_otc_venue_volume b, finra_otc_venue_volume c, core_runs"
HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "end of an attribute": "\" autofocus onfocus=alert(1) x='",
    "template": "{{ 7*7 }}{% raw %}",
    "escape": "\N{ESCAPE}[31mred\N{ESCAPE}]0;title\N{BEL}",
    "right to left": "\N{RIGHT-TO-LEFT OVERRIDE}exe.cod\N{RIGHT-TO-LEFT EMBEDDING}",
    "address": "javascript:alert(1)//",
    "formula": "=1+1",
}


def raw(address: str, request: bytes) -> bytes:
    """What the console answers, if anything, to bytes that no client would send."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        with suppress(ConnectionError):
            connection.sendall(request)
        with suppress(ConnectionError):
            return connection.recv(65_536)
    return b""


def test_a_name_that_points_here_gets_nothing(shop: Shop) -> None:
    """A page elsewhere that points its own name at this machine is refused, with any port and in any form."""
    for host in ("evil.example", "evil.example:8642", "127.0.0.1.evil.example", "localhost@evil.example", ""):
        answer = httpx2.get(shop.address + "/index.json", headers={"host": host}, timeout=60)
        assert answer.status_code == 400
        assert "partition" not in answer.text
    two = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"
    absolute = b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    for request in (two, absolute, b"GET / HTTP/1.1\r\n\r\n"):
        assert raw(shop.address, request).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_another_site_changes_nothing(shop: Shop, method: str) -> None:
    """A form or a script of another site is refused, whatever it sends."""
    headers = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    for path in ("/", "/query", "/actions/backfill", "/actions/accept"):
        answer = httpx2.request(method, shop.address + path, headers=headers, content=b"keys=all", timeout=60)
        assert answer.status_code in (403, 404, 405)


def test_a_form_of_another_site_starts_nothing(own_shop: Shop) -> None:
    """Where pages may start commands, a form that this console did not make is refused all the same."""
    before = own_shop.run("runs", "--json", "--limit", "1")
    (key,) = own_shop.keys("failed")
    for headers in (
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": own_shop.address, "sec-fetch-site": "same-origin"},
        {},
    ):
        for stamp in ("", "0" * 64):
            form = {"domain": "finra", "pick": key, "stamp": stamp}
            answer = httpx2.post(f"{own_shop.address}/actions/backfill", data=form, headers=headers, timeout=60)
            assert answer.status_code == 403
    assert own_shop.run("runs", "--json", "--limit", "1") == before


def test_another_site_reads_nothing(opened: Open, shop: Shop) -> None:
    """A page of another origin can neither read an answer nor frame a page of the console."""
    page, _ = opened()
    page.route("http://other.example/**", lambda route: route.fulfill(body="<title>other</title>"))
    page.goto("http://other.example/")
    read = "url => fetch(url).then(answer => answer.text()).catch(error => `refused: ${error.name}`)"
    assert page.evaluate(read, shop.address + "/index.json") == "refused: TypeError"
    framed = """url => new Promise(done => {
        const frame = document.createElement("iframe");
        frame.onload = () => { try { done(frame.contentWindow.length); } catch (error) { done(error.name); } };
        frame.src = url;
        document.body.append(frame);
    })"""
    page.evaluate(framed, shop.address + "/")
    assert all(frame.locator(".brand").count() == 0 for frame in page.frames)


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e%2fapp.py", "//etc/passwd", "/..%2f..%2fetc/passwd", "/static/%00"]
)
def test_no_path_leads_out(shop: Shop, path: str) -> None:
    """Paths that climb lead to nothing, also when no client has tidied them."""
    answer = raw(shop.address, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"root:" not in answer
    assert b"def " not in answer


def test_a_megabyte_of_query_is_refused(shop: Shop) -> None:
    """A megabyte of address or of headers ends in a refusal, and the console answers on."""
    for request in (
        b"GET /?q=" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    ):
        answer = raw(shop.address, request)
        assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert httpx2.get(shop.address + "/healthz", timeout=60).text == "ok\n"


def test_a_runaway_statement_ends(opened: Open, shop: Shop) -> None:
    """A statement that would run for ever ends at its limit, on the page, and other pages answer meanwhile."""
    page, said = opened()
    page.goto(f"{shop.address}/query?sql={quote(RUNAWAY)}")
    assert "took longer than 2 s" in page.locator("main").inner_text()
    assert httpx2.get(shop.address, timeout=60).status_code == 200
    assert said == []


def test_hostile_data_is_text(opened: Open, hostile: Shop) -> None:
    """Markup, escapes and marks of direction in names are shown as what they are, and change nothing else."""
    (key,) = hostile.keys("warned")
    capture = hostile.captures(key)[-1]
    assert capture["is_revision"] or capture["rejected"] > len(HOSTILE)
    symbols = "SELECT symbol, issue_name FROM finra_otc_venue_volume WHERE issue_name LIKE '%alert(1)%'"
    paths = [
        f"/d/finra/p/{quote(key)}",
        f"/captures/{quote(capture['capture_id'])}",
        f"/query?sql={quote(symbols)}",
        *(f"/search?q={quote(text)}" for text in HOSTILE.values()),
        *(f"/query?sql={quote('SELECT ' + literal(text) + ' AS ' + name(text))}" for text in HOSTILE.values()),
        *(f"/d/finra/p/{quote(text, safe='')}" for text in HOSTILE.values()),
        *(f"/?as_of={quote(text)}" for text in HOSTILE.values()),
    ]
    seen = ""
    for path in paths:
        page, said = opened()
        answer = page.goto(hostile.address + path)
        assert answer is not None
        bad = [each for each in said if "status of 40" not in each]
        assert (answer.status < 500, bad) == (True, []), path
        assert (
            page.locator("img, iframe, object, [autofocus], [onerror], [onfocus], a[href^='javascript']").count() == 0
        )
        assert page.locator("script").count() == 1
        seen += page.locator("body").inner_text()
    for text in ("<script>alert(1)</script>", "{{ 7*7 }}", "onfocus=alert(1)", "=1+1"):
        assert text in seen


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    """A text as a name in SQL."""
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("width", [1280, 390])
def test_marks_of_direction_end_where_their_text_ends(opened: Open, shop: Shop, width: int) -> None:
    """A text that turns the direction of writing does not turn what is written after it."""
    turned = HOSTILE["right to left"]
    page, _ = opened(width)
    page.goto(f"{shop.address}/search?q={quote(turned)}")
    places = """() => [...document.querySelector(".sub").childNodes].map(node => {
        const range = document.createRange();
        range.selectNodeContents(node);
        const box = range.getBoundingClientRect();
        return [node.textContent.trim(), box.left, box.right];
    }).filter(([text]) => text)"""
    found = page.evaluate(places)
    assert len(found) > 1
    assert [left for _, left, _ in found] == sorted(left for _, left, _ in found)


@pytest.fixture(scope="module")
def hostile(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A store whose newest loaded week names companies by hostile texts, restated from other ones."""
    own = tmp_path_factory.mktemp("hostile") / "own"
    shutil.copytree(folder, own)
    path = sorted((own / "data").glob("finra_otc_weekly_tier1_2*.csv"))[-1]
    header, *lines = path.read_text("utf-8").splitlines()
    for number, text in enumerate(HOSTILE.values()):
        cells = lines[number].split("|")
        cells[2] = cells[3] = text
        lines[number] = "|".join(cells)
    path.write_text("\n".join([header, *lines]) + "\n", "utf-8")
    command = [sys.executable, "-m", "market_spine", "schedule", "finra", "--lookback-weeks", "1"]
    settings = os.environ | {"FINRA_DATA_DIR": str(own / "data"), "DATABASE_URL": str(own / "market_spine.db")}
    subprocess.run(command, env=settings, capture_output=True, check=False)
    with served(own / "market_spine.db") as address:
        yield Shop(own, address)
