"""One run of the Airflow example, inside its own environment: ``python airflow_side.py EXAMPLE ANSWER [KEY ...]``.

The run goes through the example as it is shipped; with keys, those stand for what the plan found.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any


def main(example: str, answer: str, *keys: str) -> None:
    """Run the DAG to its end in this process, on its metadata database, and write what became of each task."""
    spec = importlib.util.spec_from_file_location("market_spine_finra", example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dag = module.market_spine_finra()
    for task in dag.tasks:
        _without_waiting(task)
    if keys:
        dag.get_task("plan").python_callable = lambda: list(keys)
    run = dag.test(run_conf={"lookback_weeks": 2})
    found: dict[str, Any] = {"state": str(run.state), "loads": {}}
    for each in run.get_task_instances():
        told = {"state": str(each.state), "tries": each.try_number}
        if each.task_id != "load":
            found[each.task_id] = told
        elif each.map_index >= 0:
            found["loads"][each.rendered_map_index] = told
    Path(answer).write_text(json.dumps(found))


def _without_waiting(task: Any) -> None:
    if hasattr(task, "partial_kwargs"):
        task.partial_kwargs["retry_delay"] = timedelta(0)
    else:
        task.retry_delay = timedelta(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
