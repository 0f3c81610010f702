"""Each fault of the simulated API can be seen over real HTTP, only where it is switched on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.server

SUMMARY = "/data/group/otcMarket/name/weeklySummary"
PARTITIONS = "/partitions/group/otcMarket/name/weeklySummary"
JSON = {"Accept": "application/json"}
PARTITION = {
    "compareFilters": [
        {"fieldName": "weekStartDate", "fieldValue": "2026-09-14", "compareType": "EQUAL"},
        {"fieldName": "tierIdentifier", "fieldValue": "T1", "compareType": "EQUAL"},
    ],
    "limit": 200,
}

Simulate = Callable[..., httpx2.Client]


@pytest.fixture(scope="module")
def api(simulate: Simulate) -> httpx2.Client:
    return simulate("2026-11-20")


def switch(api: httpx2.Client, *faults: str) -> None:
    assert api.post("/_simulator/faults", json={"faults": list(faults)}).json() == {"faults": list(faults)}


def ask(api: httpx2.Client, **more: Any) -> httpx2.Response:
    return api.post(SUMMARY, json={**PARTITION, **more}, headers=JSON)


@pytest.fixture(scope="module")
def whole(api: httpx2.Client) -> httpx2.Response:
    """The answer without a fault."""
    switch(api)
    return ask(api)


@pytest.mark.parametrize("status", [403, 429, 500, 502, 503, 504])
def test_status(api: httpx2.Client, status: int) -> None:
    """A status comes with an error in FINRA's shape; only 429 says when to come back."""
    switch(api, f"{status}@data=every:1")
    answer = ask(api)
    assert (answer.status_code, answer.json()["statusCode"]) == (status, status)
    assert answer.headers.get("Retry-After") == ("1" if status == 429 else None)
    assert api.get(PARTITIONS).status_code == 200


def test_429_without_retry_after(api: httpx2.Client) -> None:
    """The other 429 leaves the caller guessing."""
    switch(api, "429-no-retry-after@data=every:1")
    answer = ask(api)
    assert (answer.status_code, "Retry-After" in answer.headers) == (429, False)


def test_timeout(api: httpx2.Client, whole: httpx2.Response) -> None:
    """The answer comes, but late."""
    switch(api, "timeout@data=every:1")
    with pytest.raises(httpx2.ReadTimeout):
        api.post(SUMMARY, json=PARTITION, headers=JSON, timeout=0.05)
    assert ask(api).content == whole.content


def test_truncated(api: httpx2.Client) -> None:
    """The connection closes before the promised end of the body."""
    switch(api, "truncated@data=every:1")
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(api)


def test_malformed(api: httpx2.Client, whole: httpx2.Response) -> None:
    """The body is half of the JSON, and the answer does not say so."""
    switch(api, "malformed@data=every:1")
    answer = ask(api)
    assert answer.status_code == 200
    assert whole.content.startswith(answer.content)
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_wrong_content_type(api: httpx2.Client) -> None:
    """A page for people comes instead of data, with status 200."""
    switch(api, "wrong-content-type@data=every:1")
    answer = ask(api)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=UTF-8")


def test_reset(api: httpx2.Client) -> None:
    """The connection ends without an answer."""
    switch(api, "reset@data=every:1")
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
        ask(api)


def test_redirect_loop(api: httpx2.Client) -> None:
    """Redirects lead to redirects, with or without cookies."""
    switch(api, "redirect-loop@data=every:1")
    with pytest.raises(httpx2.TooManyRedirects):
        api.post(SUMMARY, json=PARTITION, headers=JSON, follow_redirects=True)


def test_cookie_redirect(api: httpx2.Client, whole: httpx2.Response) -> None:
    """A client that keeps cookies gets through; one that does not is sent round."""
    switch(api, "cookie-redirect@data=every:1")
    forgetful = httpx2.post(api.base_url.join(SUMMARY), json=PARTITION, headers=JSON)
    assert (forgetful.status_code, "set-cookie" in forgetful.headers) == (307, True)
    answer = api.post(SUMMARY, json=PARTITION, headers=JSON, follow_redirects=True)
    assert answer.content == whole.content
    api.cookies.clear()


def test_short_page(api: httpx2.Client, whole: httpx2.Response) -> None:
    """A page has half the rows asked for, though the record total says that more are there."""
    switch(api, "short-page@data=every:1")
    answer = ask(api)
    assert answer.json() == whole.json()[:100]
    assert answer.headers["Total-Records-On-Page"] == "100"
    assert answer.headers["Record-Total"] == whole.headers["Record-Total"]


def test_drift(api: httpx2.Client, whole: httpx2.Response) -> None:
    """Every other answer knows one row less, and its pages begin one row later."""
    switch(api, "drift@data=every:2")
    answers = [ask(api) for _ in range(4)]
    total = int(whole.headers["Record-Total"])
    assert [int(answer.headers["Record-Total"]) for answer in answers] == [total, total - 1] * 2
    assert answers[1].json()[:-1] == whole.json()[1:]


def test_early_expiry(api: httpx2.Client) -> None:
    """A good token is refused once and stays refused; a new one works."""
    token_path = "/fip/rest/ews/oauth2/access_token?grant_type=client_credentials"

    def bearer() -> dict[str, str]:
        granted = api.post(token_path, auth=("market-spine", "simulated")).json()
        return {"Authorization": f"Bearer {granted['access_token']}"}

    first = bearer()
    switch(api, "401-expiry@data=every:2")
    assert [api.get(SUMMARY, headers=first).status_code for _ in range(2)] == [200, 401]
    switch(api)
    assert api.get(SUMMARY, headers=first).status_code == 401
    assert api.get(SUMMARY, headers=bearer()).status_code == 200


def test_rate_is_met_and_counted(api: httpx2.Client) -> None:
    """A share of the requests fails, the same ones each time, and the statistics count them."""
    runs = []
    for _ in range(2):
        switch(api, "503=0.3")
        api.delete("/_simulator/stats")
        runs.append([api.get(PARTITIONS).status_code for _ in range(60)])
    assert runs[0] == runs[1]
    failed = runs[0].count(503)
    assert 8 <= failed <= 28
    stats = api.get("/_simulator/stats").json()
    assert stats["faults"] == {"503": failed}
    assert stats["routes"]["partitions"]["statuses"] == {"200": 60 - failed, "503": failed}
    switch(api)


def test_switch_that_cannot_be_read(api: httpx2.Client) -> None:
    """A wrong switch is refused with a sentence, and what was switched on stays."""
    switch(api, "503@data=0.5")
    answer = api.post("/_simulator/faults", json={"faults": ["earthquake=1"]})
    assert (answer.status_code, "earthquake" in answer.json()["error"]) == (400, True)
    assert api.get("/_simulator/faults").json() == {"faults": ["503@data=0.5"]}
    switch(api)
