"""FINRA's weekly data in Dagster: an asset with one partition per partition of the plan, the windows, and a gate.

`market-spine` must be on the PATH of the code location, from an environment of its own. It reads DATABASE_URL,
FINRA_SOURCE and its other settings from the environment.
"""

import json
import subprocess
from collections.abc import Iterator

import dagster as dg

TRANSIENT = {"locked", "interrupted", "store_unavailable", "source_unavailable"}
TRANSIENT |= {"unreachable", "broken_off", "timeout", "rate_limited", "server_error", "unstable_source", "incomplete"}
"""What may be over in some minutes; everything else fails again in the same way, so it is not tried again."""
WINDOWS = "finra.otc_transparency.compute_rolling"
"""Foreseen for each week that looks at one that moves, which makes no work of that week's own."""
RETRY = dg.RetryPolicy(max_retries=2, delay=600)
LOOKBACK = ("--lookback-weeks", "4")
partitions = dg.DynamicPartitionsDefinition(name="finra_partitions")


def call(*words: str) -> dict:
    """Run a command of market-spine, which logs to the step's stderr, and read its JSON document."""
    done = subprocess.run(["market-spine", *words, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise dg.Failure(f"market-spine {words[0]} gave exit code {done.returncode} and no result", allow_retries=False)
    return json.loads(done.stdout)


def schedule(*words: str) -> dict:
    """Run the scheduler; what ends it, or fails in a run, fails the step, which is tried again where that may help."""
    result = call("schedule", "finra", *words)
    if result["status"] == "success" or ("dry-run" in words and not result.get("error")):
        return result
    errors = [found["error"] for found in (result, *result["runs"]) if found.get("error")]
    kinds = [error["kind"] for error in errors] or ["locked"]
    reason = "; ".join(f"{error['kind']}: {error['message']}" for error in errors) or "locked by another run"
    hints = "; ".join(error["hint"] for error in errors)
    raise dg.Failure(reason, {"kind": ", ".join(kinds), "hint": hints}, allow_retries=TRANSIENT.issuperset(kinds))


@dg.asset(retry_policy=RETRY)
def finra_plan() -> dg.MaterializeResult:
    """The partitions that have something to do, or have failed; none is a run that found nothing."""
    result = schedule("--mode", "dry-run", *LOOKBACK)
    runs = [run for run in result["runs"] if run["pipeline"] != WINDOWS]
    left = [run["partition_key"] for run in runs if run["status"] in ("planned", "failed")]
    return dg.MaterializeResult(metadata={"partitions": list(dict.fromkeys(left)), "stats": result["stats"]})


@dg.asset(partitions_def=partitions, retry_policy=RETRY, output_required=False, pool="market_spine")
def finra_week(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetObservation]:
    """A week of a tier, as the source has it; only observed where nothing was new."""
    key = context.partition_key
    runs = schedule("--partitions", key, "--shard", "0/1")["runs"]  # a shard computes no windows
    if all(run["status"] == "skipped" for run in runs):
        told = {"status": "skipped", "reason": ", ".join(run["reason"] for run in runs)}
        yield dg.AssetObservation("finra_week", partition=key, metadata=told)
    else:
        figures = {name: runs[0][name] for name in ("capture_id", "row_count", "is_revision", "revision_summary")}
        yield dg.MaterializeResult(metadata={name: value for name, value in figures.items() if value is not None})


# Once no partition is in progress any more; one that failed does not keep the other weeks' figures back.
AFTERWARDS = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())


@dg.asset(deps=[finra_week], automation_condition=AFTERWARDS, retry_policy=RETRY)
def finra_windows() -> dg.MaterializeResult:
    """The calculations over several weeks."""
    runs = schedule("--only-stage", "calc", *LOOKBACK, "--only", "captured,revised,warned")["runs"]
    return dg.MaterializeResult(metadata={"computed": sum(run["status"] == "completed" for run in runs)})


@dg.asset_check(asset=finra_windows, blocking=True)
def finra_ready() -> dg.AssetCheckResult:
    """The gate: what needs the latest weeks depends on finra_windows."""
    answer = call("ready", "finra")
    missing = {each["partition_key"]: each["reasons"] for each in answer["partitions"] if not each["ready"]}
    return dg.AssetCheckResult(passed=answer["ready"], metadata={"missing": missing})


daily, weeks = dg.define_asset_job("finra_daily", [finra_plan]), dg.define_asset_job("finra_weeks", [finra_week])
mornings = dg.ScheduleDefinition(job=daily, cron_schedule="0 6 * * 2-6", execution_timezone="America/New_York")
automation = dg.AutomationConditionSensorDefinition("finra_automation", target=[finra_windows])


@dg.asset_sensor(finra_plan.key, job=weeks)
def finra_planned(context: dg.SensorEvaluationContext, event: dg.EventLogEntry) -> dg.SensorResult:
    """One run per partition of a plan."""
    keys = event.asset_materialization.metadata["partitions"].value
    asked = [dg.RunRequest(partition_key=key, run_key=f"{event.run_id} {key}") for key in keys]
    return dg.SensorResult(asked, dynamic_partitions_requests=[partitions.build_add_request(keys)])


ASSETS = [finra_plan, finra_week, finra_windows]
defs = dg.Definitions(ASSETS, [mornings], [finra_planned, automation], [daily, weeks], asset_checks=[finra_ready])
