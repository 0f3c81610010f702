"""FINRA's weekly data in Airflow 3: one mapped task per partition of the plan, then the windows, then a gate.

`market-spine` must be on the workers' PATH, from an environment of its own. It reads DATABASE_URL, FINRA_SOURCE and
its other settings from the workers' environment.
"""

import json
import logging
import subprocess
from datetime import timedelta

import pendulum
from airflow.sdk import TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

TRANSIENT = {"locked", "interrupted", "store_unavailable", "source_unavailable"}
TRANSIENT |= {"unreachable", "broken_off", "timeout", "rate_limited", "server_error", "unstable_source", "incomplete"}
"""What may be over in some minutes; everything else fails again in the same way, so it is not tried again."""
WINDOWS = "finra.otc_transparency.compute_rolling"
"""Foreseen for each week that looks at one that moves, which makes no work of that week's own."""


def call(*words: str) -> dict:
    """Run a command of market-spine, which logs to the task's log, and read its JSON document."""
    done = subprocess.run(["market-spine", *words, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise AirflowFailException(
            f"market-spine {words[0]} gave exit code {done.returncode} and no result; see the log"
        )
    return json.loads(done.stdout)


def schedule(*words: str) -> dict:
    """Run the scheduler; what ends it, or fails in a run, fails the task, which is tried again where that may help."""
    result = call("schedule", "finra", *words)
    if result["status"] == "success" or ("dry-run" in words and not result.get("error")):
        return result
    errors = [found["error"] for found in (result, *result["runs"]) if found.get("error")]
    for error in errors:
        logging.getLogger(__name__).error("%s: %s; %s", error["kind"], error["message"], error["hint"])
    kinds = {error["kind"] for error in errors} or {"locked"}
    failure = AirflowException if kinds <= TRANSIENT else AirflowFailException
    raise failure("; ".join(f"{error['kind']}: {error['message']}" for error in errors) or "locked by another run")


@dag(
    schedule="0 6 * * 2-6",
    start_date=pendulum.datetime(2026, 1, 1, tz="America/New_York"),
    catchup=False,  # the plan looks back by itself
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
    params={"lookback_weeks": 4},
)
def market_spine_finra():
    @task
    def plan() -> list[str]:
        """The partitions that have something to do, or have failed; none is a run that found nothing."""
        weeks = str(get_current_context()["params"]["lookback_weeks"])
        runs = schedule("--mode", "dry-run", "--lookback-weeks", weeks)["runs"]
        runs = [run for run in runs if run["pipeline"] != WINDOWS]
        left = [run["partition_key"] for run in runs if run["status"] in ("planned", "failed")]
        return list(dict.fromkeys(left))

    @task(map_index_template="{{ key }}", max_active_tis_per_dagrun=4)
    def load(key: str) -> None:
        get_current_context()["key"] = key
        runs = schedule("--partitions", key, "--shard", "0/1")["runs"]  # a shard computes no windows
        if all(run["status"] == "skipped" for run in runs):
            raise AirflowSkipException(f"{key}: {', '.join(run['reason'] for run in runs)}")

    @task(trigger_rule=TriggerRule.ALL_DONE)  # one bad file does not keep the other weeks' figures back
    def windows() -> None:
        weeks = str(get_current_context()["params"]["lookback_weeks"])
        schedule("--only-stage", "calc", "--lookback-weeks", weeks, "--only", "captured,revised,warned")

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def ready() -> None:
        """The gate: what needs the latest weeks comes after it."""
        answer = call("ready", "finra")
        if missing := [each for each in answer["partitions"] if not each["ready"]]:
            raise AirflowFailException("; ".join(f"{each['partition_key']}: {each['reasons']}" for each in missing))

    @task
    def complete() -> None:
        """Fails with any partition: Airflow judges a run by its last tasks, and the gate may open all the same."""

    loaded = load.expand(key=plan())
    computed = windows()
    loaded >> computed >> ready()
    [loaded, computed] >> complete.override(trigger_rule=TriggerRule.NONE_FAILED)()


market_spine_finra()
