"""The console answers what Prometheus asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from starlette.testclient import TestClient


def test_metrics_are_the_counts_of_the_grid(visit: TestClient) -> None:
    """``/metrics`` is Prometheus's text format, and counts the partitions as the grid of a year does."""
    answer = visit.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, sample.labels.get("domain"), sample.labels.get("state")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    counts = visit.get("/d/finra/partitions.json?range=1y").json()["counts"]
    held = found["market_spine_partitions", "finra.otc_transparency", "held"]
    late = found["market_spine_partitions", "finra.otc_transparency", "late"]
    assert (held, late) == (counts["held"], counts["late"]) != (0, 0)
