"""
What a whole parse of a DAG file takes: the factory's, beside the YAML of dag-factory and a loop that a person wrote.

All three make the same DAGs of the same operator. ``python -m benchmarks parsing`` keeps the figures; this file is also what runs
in the processes that are measured. As in a dag-processor, each parse is a fork of a process that has imported what it needs.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.chains import CONFIG
from benchmarks.checkout import REPOSITORY
from benchmarks.peers.environment import PeersEnvironment
from benchmarks.result import AtMost, Result

SIZES = (10, 100, 1_000, 10_000)
TASKS_OF_WORKFLOW = 10
SAMPLES = 7
#: From so many tasks on something was promised of the time.
MANY = 1_000
OF_BY_HAND, OF_DAG_FACTORY = 0.85, 1 / 6

_OPERATOR = "provider.operators.dataform.DataformWorkflowInvocationOperator"
#: What the factory adds to each DAG.
_OWN_TASKS = {"start_batch", "batch_watcher"}
_SCHEDULE, _START = "0 5 * * *", "2026-01-01"
#: Kind → modules that its DAG file needs.
_MODULES: Mapping[str, tuple[str, ...]] = {
    "factory": ("dag_factory.factory", "provider.operators.dataform"),
    "by_hand": ("provider.operators.dataform",),
    "dag_factory": ("dagfactory", "provider.operators.dataform"),
}

_BY_HAND = f"""
import pendulum
from airflow.sdk import DAG
from provider.operators.dataform import DataformWorkflowInvocationOperator

for number in range(COUNT):
    name = f"w{{number:05}}"
    with DAG(name, schedule="{_SCHEDULE}", start_date=pendulum.parse("{_START}"), catchup=False) as dag:
        tasks = []
        for place in range({TASKS_OF_WORKFLOW}):
            task = DataformWorkflowInvocationOperator(task_id=f"{{name}}_t{{place}}", **{CONFIG})
            for before in tasks[-2:]:
                before >> task
            tasks.append(task)
    globals()[name] = dag
"""
_DAG_FACTORY = """
from dagfactory import load_yaml_dags

load_yaml_dags(globals_dict=globals(), config_filepath=__file__.replace(".py", ".yaml"))
"""


def run(folder: Path, peers: PeersEnvironment) -> Iterator[Result]:
    """Yield the figures."""
    # The processes that are measured have no demo.
    from demo.databases import Databases
    from demo.postgres import PostgresServer

    with PostgresServer() as postgres:
        for tasks in SIZES:
            place = folder / f"parsing_{tasks}"
            place.mkdir()
            files = _write(place, tasks)
            environment = _environment(place, Databases.on_postgres(place.name, postgres).environment)
            _python(Path(sys.executable), environment, "fill", str(tasks))
            of = {}
            for kind in _MODULES:
                python = peers.python if kind == "dag_factory" else Path(sys.executable)
                samples = json.loads(_python(python, environment, "measure", kind, str(files[kind]), str(tasks)).splitlines()[-1])
                result = Result(f"parsing.{kind}.{tasks}", "ms", samples)
                of[kind] = result.value
                yield result
            for other, most in (("by_hand", OF_BY_HAND), ("dag_factory", OF_DAG_FACTORY)):
                goal = AtMost(most) if tasks >= MANY else None
                yield Result(f"parsing.factory_to_{other}.{tasks}", "times", [of["factory"] / of[other]], goal)


def _environment(place: Path, databases: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of what is measured: a dag-processor has the driver of Airflow's own database, too."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV"))}
    return {
        **inherited,
        "PYTHONPATH": str(REPOSITORY),
        "AIRFLOW_HOME": str(place / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        **databases,
        "AIRFLOW__ACCELERATOR__SNAPSHOT_DIR": str(place / "snapshot"),
        "DO_NOT_TRACK": "1",
    }


def _python(python: Path, environment: Mapping[str, str], *arguments: str) -> str:
    command = [str(python), "-m", "benchmarks.parsing", *arguments]
    done = subprocess.run(  # noqa: S603 - of this file's own making
        command, check=True, capture_output=True, text=True, env=environment, cwd=REPOSITORY, timeout=900
    )
    return done.stdout


def _write(place: Path, tasks: int) -> dict[str, Path]:
    """Write the DAG files; return kind → its file."""
    count = tasks // TASKS_OF_WORKFLOW
    (place / "by_hand.py").write_text(_BY_HAND.replace("COUNT", str(count)), encoding="utf-8")
    (place / "dag_factory.py").write_text(_DAG_FACTORY, encoding="utf-8")
    definitions = {f"w{number:05}": _definition(f"w{number:05}") for number in range(count)}
    (place / "dag_factory.yaml").write_text(yaml.safe_dump(definitions), encoding="utf-8")
    return {"factory": REPOSITORY / "dags" / "workflows.py"} | {kind: place / f"{kind}.py" for kind in ("by_hand", "dag_factory")}


def _definition(name: str) -> dict[str, Any]:
    """Return a DAG as dag-factory wants it."""
    ids = [f"{name}_t{number}" for number in range(TASKS_OF_WORKFLOW)]
    tasks = [
        {"task_id": one, "operator": _OPERATOR, "dependencies": ids[max(0, place - 2) : place], **CONFIG}
        for place, one in enumerate(ids)
    ]
    return {"schedule": _SCHEDULE, "catchup": False, "default_args": {"start_date": _START}, "tasks": tasks}


def _fill(tasks: int) -> None:
    from benchmarks.chains import add_chain, store
    from provider.metadata.rows import DefinitionRows

    rows = DefinitionRows()
    for number in range(tasks // TASKS_OF_WORKFLOW):
        add_chain(rows, f"w{number:05}", TASKS_OF_WORKFLOW, schedule=_SCHEDULE, start_date=_START)
    store(rows)


def _measure(kind: str, file: str, tasks: int) -> list[float]:
    """Return the milliseconds of some parses, each in a fork of this process."""
    for module in ("airflow.dag_processing.manager", "airflow.dag_processing.processor", *_MODULES[kind]):
        importlib.import_module(module)
    return [_parse(file, tasks) for _ in range(SAMPLES)]


def _parse(file: str, tasks: int) -> float:
    import runpy

    from airflow.sdk import DAG

    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        begun = time.perf_counter()
        found = runpy.run_path(file)
        seconds = time.perf_counter() - begun
        dags = {value.dag_id: value for value in found.values() if isinstance(value, DAG)}
        made = sum(len(set(dag.task_ids) - _OWN_TASKS) for dag in dags.values())
        os.write(writing, json.dumps([seconds * 1000, made]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        milliseconds, made = json.load(told)
    os.waitpid(child, 0)
    assert made == tasks, f"{made} tasks"
    return float(milliseconds)


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        _fill(int(sys.argv[2]))
    else:
        sys.stdout.write(f"{json.dumps(_measure(sys.argv[2], sys.argv[3], int(sys.argv[4])))}\n")
