"""``market-spine publish`` to S3: a lake in a bucket is the lake that a folder has, and nobody overwrites another's."""

from __future__ import annotations

import json
import logging
import random
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import obstore
import polars as pl
import pytest
from obstore.store import S3Store

from market_spine.errors import MarketSpineError, StoreLocked
from market_spine.publish.lake import publish
from market_spine.publish.lakebucket import LakeBucket
from market_spine.publish.unpublished import GRACE
from market_spine.read.spine import connect

from .lakes import TABLES, Port, by_duckdb, by_polars, live

pytestmark = [
    pytest.mark.usefixtures("harbor"),
    pytest.mark.server,
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]
KEY, SECRET = "AKIAOFTHEPUBLISHER", "the-secret-of-the-publisher"
_numbers = count()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server that speaks S3, on this machine."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Bucket(Port):
    """A harbor whose lake lies in a bucket of its own; ``lake`` is a copy of it."""

    def __init__(self, endpoint: str, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.endpoint, self.name = endpoint, f"bucket-{next(_numbers)}"
        self.to = f"s3://{self.name}/a/lake"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{self.name}", method="PUT")).close()
        self.store = S3Store(self.name, prefix="a/lake", client_options={"allow_http": True})

    def publish(self) -> Any:
        """Publish, and what it answers."""
        code, told = self("publish", "--to", self.to, "--format", "parquet")
        assert code == 0, told
        self.copy()
        return told

    def objects(self) -> dict[str, str]:
        """What lies there, and in which state."""
        return {each["path"]: str(each["e_tag"]) for page in obstore.list(self.store) for each in page}

    def copy(self, below: str = "") -> Path:
        """Bring what lies there, or below a further prefix, to this machine; SQL names the copies."""
        place = self.lake / below
        shutil.rmtree(place, ignore_errors=True)
        for path in self.objects():
            if path.startswith(below):
                (self.lake / path).parent.mkdir(parents=True, exist_ok=True)
                content = bytes(obstore.get(self.store, path).bytes())
                address = f"{self.to}/{below}".rstrip("/").encode()
                (self.lake / path).write_bytes(content.replace(address, str(place).encode()))
        return place


@pytest.fixture
def port(
    endpoint: str, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Bucket:
    """A harbor without loads."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return Bucket(endpoint, tmp_path, database, capsys)


def known(lake: Path) -> set[str]:
    """The data files that a lake knows of."""
    said = json.loads((lake / "_current.json").read_text())
    return {file for files in said["tables"].values() for file in files} | {each["file"] for each in said["replaced"]}


def test_moments_read_from_a_bucket_are_as_the_store_shows_them(port: Bucket) -> None:
    """After loads, restatements and decisions, DuckDB by the shipped SQL, and Polars by the files that
    ``_current.json`` names, read what ``query --as-of`` shows; only what something came to is written."""
    dice = random.Random(33)
    port.load(d01="ada 10\nbela 20\n", d02="ada 30\n", d04="caro 5\n")
    assert port.publish()["status"] == "published"
    before, was = port.objects(), port.current()
    again = port.publish()
    assert (again["status"], again["files"], again["removed"], port.objects()) == ("unchanged", 0, 0, before)
    port.load(d02="ada 31\nbela 1\n")
    for _ in range(2):
        live(port, dice)
    told = port.publish()
    after = port.objects()
    kept = set(was["tables"]["harbor_landing"]) & set(port.current()["tables"]["harbor_landing"])
    assert kept
    assert all(before[file] == after[file] for files in was["tables"].values() for file in files)
    manifest = pl.read_parquet([port.lake / file for file in port.current()["tables"]["core_manifest"]])
    commits = manifest["committed_at"].unique().sort().to_list()
    assert told["published_through"] == commits[-1].isoformat(timespec="microseconds")
    moments = [*commits, *(moment - timedelta(microseconds=1) for moment in commits[1:])]
    moments += [commits[0] + (commits[-1] - commits[0]) * dice.random() for _ in range(5)]
    wanted = port.stored(moments)
    assert len({str(rows) for rows in wanted}) > 3
    assert list(by_duckdb(port.lake, moments)) == wanted
    assert list(by_polars(port.lake, moments)) == wanted
    options = {"aws_endpoint_url": port.endpoint, "aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
    for name in TABLES:
        files = port.current()["tables"][name]
        there = pl.read_parquet(
            [f"{port.to}/{file}" for file in files], storage_options={**options, "aws_allow_http": "true"}
        )
        assert there.equals(pl.read_parquet([port.lake / file for file in files]))


def test_what_a_reader_may_still_use_stays_for_a_day_in_a_bucket(port: Bucket) -> None:
    """Objects that were replaced stay until the grace period is over; others that only publications leave go at once,
    and what somebody else keeps there stays."""
    port.load(d01="ada 10\n", d02="ada 20\n")
    port.publish()
    (old,) = [file for file in port.current()["tables"]["harbor_landing"] if "2025-03-01" in file]
    orphan = old.rpartition("-")[0] + "-0123456789ab.parquet"
    obstore.put(port.store, orphan, b"half")
    obstore.put(port.store, "harbor_landing/notes.txt", b"a reader's own")
    port.load(d01="ada 11\n")
    assert port.publish()["removed"] == 1
    assert orphan not in port.objects()
    assert pl.read_parquet(port.lake / old)["tons"].to_list() == [10.0]
    now = datetime.now(UTC)
    for later, there in ((GRACE - timedelta(minutes=5), True), (GRACE + timedelta(minutes=5), False)):
        with connect(port.db, lambda at=now + later: at) as spine:
            assert publish(spine, "lake", LakeBucket(port.to)).status == "unchanged"
        assert (old in port.objects()) == there
    assert "harbor_landing/notes.txt" in port.objects()
    port.copy()
    assert known(port.lake) == {path for path in port.objects() if path.endswith(".parquet")}


def test_who_comes_second_is_refused_and_overwrites_nothing(port: Bucket) -> None:
    """While one publisher is at work, another publishes, and clears away what nobody has named: the first is refused
    as ``locked``, readers find the other's lake whole, and the next publication removes what the first left. Nor
    does one that has committed, and then was slow, put its SQL over that of the next."""
    for day in ("ada 10\n", "ada 11\n"):
        port.load(d01=day)
        place = LakeBucket(port.to)
        inner = place.files

        def meanwhile(inner: Callable[[], Iterator[str]] = inner) -> Iterator[str]:
            found = [*inner()]
            assert port.publish()["status"] == "published"
            return iter(found)

        place.files = meanwhile  # type: ignore[method-assign] # the moment between two requests
        with connect(port.db) as spine, pytest.raises(StoreLocked, match="meanwhile"):
            publish(spine, port.to, place)
        moment = datetime.fromisoformat(port.current()["published_through"])
        assert list(by_duckdb(port.copy(), [moment])) == port.stored([moment])
    slow = LakeBucket(port.to)
    slow.current()
    port.load(d01="ada 12\n")
    port.publish()
    slow.put("views.duckdb.sql", b"-- late")
    moment = datetime.fromisoformat(port.current()["published_through"])
    assert list(by_duckdb(port.copy(), [moment])) == port.stored([moment])
    assert known(port.lake) == {path for path in port.objects() if path.endswith(".parquet")}


def refused(port: Bucket, to: str) -> Any:
    """The error of a publication, which says nothing of the credentials."""
    port.capsys.readouterr()
    code, told = port("publish", "--to", to, "--format", "parquet")
    assert code == 1
    assert SECRET not in json.dumps(told)
    assert KEY not in json.dumps(told)
    return told["error"]


def allow(port: Bucket, requests: str) -> None:
    """Let the server look at credentials after so many requests."""
    asked = urllib.request.Request(
        f"{port.endpoint}/moto-api/reset-auth", requests.encode(), {"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(asked).close()


def test_places_that_cannot_be_published_to_are_refused(port: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that are none or hold a login, another's prefix or history, a missing bucket, refused or missing
    credentials and a missing extra each have an error of their own, and nothing is written."""
    port.load(d01="ada 10\n")
    for to in (
        f"s3://{KEY}:{SECRET}@{port.name}/lake",
        "s3://",
        "s3://b",
        f"{port.to}?x=1",
        f"{port.to}/../x",
        "s3://B_b/x",
    ):
        assert refused(port, to)["kind"] == "usage"
    obstore.put(port.store, "papers/thesis.txt", b"years of work")
    assert "no lake" in refused(port, f"{port.to}/papers")["message"]
    absent = refused(port, "s3://no-such-bucket/lake")
    assert (absent["kind"], "NoSuchBucket" in absent["message"]) == ("output", True)
    assert "address" in refused(port, "gs://bucket/lake")["message"]
    allow(port, "0")
    try:
        denied = refused(port, port.to)
    finally:
        allow(port, "inf")
    assert (denied["kind"], "InvalidAccessKeyId" in denied["message"]) == ("output", True)
    assert list(port.objects()) == ["papers/thesis.txt"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "AWS_ACCESS_KEY_ID" in refused(port, port.to)["hint"]
    monkeypatch.setattr("market_spine.publish.lakebucket.find_spec", lambda _name: None)
    missing = refused(port, port.to)
    assert (missing["kind"], missing["hint"]) == ("missing_extra", "pip install 'market-spine-basic[s3]'")


def test_a_server_that_is_not_there_is_an_error(port: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens the error says so, and repeats neither the endpoint's login nor the credentials."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://somebody:{SECRET}@127.0.0.1:1")
    with pytest.raises(MarketSpineError) as caught, LakeBucket(port.to, retries=0).publishing():
        pass
    assert (caught.value.kind, "cannot be reached" in caught.value.message) == ("output", True)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r} {caught.value.hint}"


class Killed(BaseException):
    """What nothing on the way catches: from here on the publisher does nothing any more."""


def test_an_end_before_any_request_leaves_the_lake_as_it_was_or_as_it_will_be(
    port: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before any request that writes or removes, a publication has happened whole or not at all, and the next
    one finishes it at once and leaves no object that nobody knows."""
    port.load(d01="ada 10\n")
    port.publish()
    before = {path: bytes(obstore.get(port.store, path).bytes()) for path in port.objects()}
    old = datetime.fromisoformat(port.current()["published_through"])
    (landing,) = port.current()["tables"]["harbor_landing"]
    before[landing.replace(landing[-20:-8], "0123456789ab")] = b"half"
    port.load(d01="ada 11\n")
    with connect(port.db) as spine:
        new = spine.store.settled(spine.store.query("SELECT MAX(committed_at) FROM core_manifest").rows[0][0])
        was, will = port.stored([old, new])
        outcomes = []
        for point in count(1):
            place = f"{point}"
            for path, content in before.items():
                obstore.put(port.store, f"{place}/{path}", content)
            left = iter(range(point - 1))

            def planted(call: Callable[..., Any], left: Iterator[int] = left) -> Callable[..., Any]:
                def ending(*arguments: Any, **named: Any) -> Any:
                    # By trying conditions nothing becomes different.
                    if arguments[1] != "_lock" and next(left, None) is None:
                        raise Killed
                    return call(*arguments, **named)

                return ending

            with monkeypatch.context() as patch:
                patch.setattr(obstore, "put", planted(obstore.put))
                patch.setattr(obstore, "delete", planted(obstore.delete))
                try:
                    publish(spine, "lake", LakeBucket(f"{port.to}/{place}"))
                except Killed:
                    pass
                else:
                    break
            lake = port.copy(place)
            through = datetime.fromisoformat(json.loads((lake / "_current.json").read_text())["published_through"])
            assert list(by_polars(lake, [through])) == [{old: was, new: will}[through]]
            outcomes.append(through)
            if point % 4 == 0:
                publish(spine, "lake", LakeBucket(f"{port.to}/{place}"))
                healed = port.copy(place)
                assert list(by_duckdb(healed, [new])) == [will]
                assert known(healed) == {str(path.relative_to(healed)) for path in healed.rglob("*.parquet")}
    assert len(outcomes) > 7
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {old, new}
