"""One run of the Dagster example, inside its own environment: ``python dagster_side.py EXAMPLE ANSWER [KEY ...]``.

Job, sensor and automation are asked in the order in which Dagster's daemon asks them, on an instance on disk. With
keys, those stand for what the plan found.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._serdes import deserialize_value, serialize_value


def main(example: str, answer: str, *keys: str) -> None:
    """Plan, load, compute and gate, and write what became of each."""
    module = _load(example)
    instance = dg.DagsterInstance.get()
    _asked(module, instance)  # the daemon asks every half minute, before a run and after it
    found: dict[str, Any] = {"loads": {}}
    daily = module.defs.resolve_job_def("finra_daily").execute_in_process(instance=instance, raise_on_error=False)
    found["plan"] = _told(daily, "finra_plan")
    if keys:
        instance.add_dynamic_partitions(module.partitions.name, list(keys))
    for key in keys or (_requested(module, instance) if daily.success else ()):
        job = module.defs.resolve_job_def("finra_weeks")
        run = job.execute_in_process(instance=instance, partition_key=key, raise_on_error=False)
        found["loads"][key] = _told(run, "finra_week")
    if _asked(module, instance):
        assets = [*module.ASSETS, module.finra_ready]
        wanted = dg.AssetSelection.assets("finra_windows")
        run = dg.materialize(assets, selection=wanted, instance=instance, raise_on_error=False)
        found["windows"] = _told(run, "finra_windows")
        checks = [check.passed for check in run.get_asset_check_evaluations()]
        found["ready"] = {"state": "success" if checks == [True] else "failed", "tries": 1}
    Path(answer).write_text(json.dumps(found))


def _load(example: str) -> Any:
    policy = dg.RetryPolicy
    dg.RetryPolicy = lambda max_retries, delay: policy(max_retries=max_retries, delay=0)
    spec = importlib.util.spec_from_file_location("market_spine_finra", example)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.LOOKBACK = ("--lookback-weeks", "2")
    return module


def _requested(module: Any, instance: Any) -> list[str]:
    """What the sensor asks for, once it has seen the plan, and the partitions that it adds for that."""
    context = dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(),
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        log_key=None,
        repository_name=None,
        repository_def=module.defs.get_repository_def(),
        sensor_name="finra_planned",
    )
    tick = module.finra_planned.evaluate_tick(context)
    for request in tick.dynamic_partitions_requests:
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return [request.partition_key for request in tick.run_requests]


def _asked(module: Any, instance: Any) -> bool:
    """Whether the automation asks for the windows."""
    kept = Path(os.environ["DAGSTER_HOME"], "automation-cursor")
    cursor = deserialize_value(kept.read_text()) if kept.exists() else None
    tick = dg.evaluate_automation_conditions(module.defs, instance, cursor=cursor)
    kept.write_text(serialize_value(tick.cursor))
    return bool(tick.total_requested)


def _told(run: Any, step: str) -> dict[str, Any]:
    kinds = [event.event_type_value for event in run.events_for_node(step)]
    if "STEP_FAILURE" in kinds:
        state = "failed"
    else:
        state = "success" if "ASSET_MATERIALIZATION" in kinds else "skipped"
        assert state == "success" or "ASSET_OBSERVATION" in kinds
    return {"state": state, "tries": 1 + kinds.count("STEP_UP_FOR_RETRY")}


if __name__ == "__main__":
    main(*sys.argv[1:])
