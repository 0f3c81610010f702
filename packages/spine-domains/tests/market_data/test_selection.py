"""Choosing symbols by the keys and the states of their partitions."""

from __future__ import annotations

from typing import Any

import pytest


def test_named_partitions_choose_symbols_and_source(desk: Any) -> None:
    """``--partitions`` names symbols and their source at once, more of them than ``--max-symbols`` if need be."""
    result = desk.run(None, partitions="MSFT|mock,AAPL|mock,IBM|mock", max_symbols=1)
    assert result.config["source"] == "mock"
    assert {run.partition_key for run in result.runs} == {"MSFT|mock", "AAPL|mock", "IBM|mock"}
    assert result.stats.succeeded == 3
    assert desk.run(None, partitions=["AAPL|mock"]).stats.attempted == 1


def test_only_takes_symbols_by_their_state_before_the_batch_is_made(desk: Any) -> None:
    """What is loaded takes no place in a batch; once all is loaded the run has nothing to do, and succeeds."""
    desk.run("AAPL", source="mock")
    result = desk.run("AAPL,MSFT", source="mock", max_symbols=1, only="not_loaded")
    assert (result.config["symbols"], result.config["only"]) == (["MSFT"], ["not_loaded"])
    idle = desk.run("AAPL,MSFT", source="mock", only="not_loaded")
    assert (idle.exit_code, idle.runs) == (0, ())
    assert "None of the 2 selected partitions is not_loaded." in idle.warnings


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"partitions": "AAPL|mock,MSFT|polygon"}, "a run asks one source, and these are mock, polygon"),
        ({"partitions": "AAPL|mock", "source": "polygon"}, "a run asks one source, and these are mock, polygon"),
        ({"partitions": "AAPL"}, "--partitions: 'AAPL' fits no known partition of market_data"),
    ],
)
def test_partitions_of_several_sources_are_refused(desk: Any, flags: dict[str, str], words: str) -> None:
    """One run asks one source; a key without one needs a known partition."""
    result = desk.run(None, **flags)
    assert result.exit_code == 1
    assert result.error is not None
    assert words in result.error.message


def test_symbols_are_chosen_in_one_way(desk: Any) -> None:
    """``--symbols`` beside ``--partitions`` is refused."""
    result = desk.run("MSFT", partitions="AAPL|mock")
    assert result.error is not None
    assert result.error.message == "--partitions and --symbols choose in two ways"


def test_a_shard_takes_its_symbols_before_the_batch_is_made(desk: Any) -> None:
    """Of four shards each symbol is in one, and what other shards have takes no place in a batch."""
    symbols = ["AAPL", "IBM", "MSFT", "NVDA", "ORCL", "TSLA"]
    taken = []
    for index in range(4):
        result = desk.run(",".join(symbols), source="mock", max_symbols=6, shard=f"{index}/4")
        assert result.exit_code == 0
        assert result.config["share"]["selected"] == 6
        taken += result.config["symbols"]
    assert sorted(taken) == symbols
    most = max(
        (desk.run(",".join(symbols), source="mock", shard=f"{index}/4", mode="dry-run") for index in range(4)),
        key=lambda each: each.stats.attempted,
    )
    of_it = desk.run(",".join(symbols), source="mock", shard=most.config["shard"], max_symbols=1, force=True)
    assert of_it.stats.attempted == 1
    assert of_it.config["symbols"][0] in most.config["symbols"]
