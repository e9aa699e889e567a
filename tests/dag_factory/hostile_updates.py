"""Updates by plain SQL that break one row of a good workflow each, and the place that the error must name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DataError

from provider.metadata.engine import write_session
from tests.dag_factory.definitions import DATAFORM, Rows

BIG = 2**64


def load(**changes: Any) -> str:
    return json.dumps({"bucket": "b", "source_objects": ["x"], "destination_table": "d.t", **changes})


def params(**changes: Any) -> str:
    return json.dumps([{"name": "a", "type": "number", "default": 1, **changes}])


def query(**parameter: Any) -> str:
    return json.dumps({"sql": "SELECT @a", "query_parameters": [{"name": "a", **parameter}]})


def refresh(**body: Any) -> str:
    return json.dumps({"workspace": "w", "semantic_model": "m", "refresh": body})


TOO_SLOW = json.dumps({**DATAFORM, "poll_interval": 1}).replace(": 1", ": 1e999")

#: Task type of the workflow, table, column, what is written into it, and the place that the error names.
_HOSTILE: list[tuple[str, str, str, Any, str]] = [
    ("dataform", "workflows", "params", params(default=BIG), "params[0].default"),
    ("dataform", "workflows", "params", params(default=-(2**63) - 1), "params[0].default"),
    ("dataform", "workflows", "params", params(enum=[1, BIG]), "params[0].enum[1]"),
    ("dataform", "workflows", "params", params(minimum="nan"), "params[0].minimum"),
    ("dataform", "workflows", "params", params(maximum="inf"), "params[0].maximum"),
    ("dataform", "workflows", "params", params(minimum=3, maximum=1), "params[0]"),
    ("dataform", "workflows", "params", params(format="dat"), "params[0].format"),
    ("dataform", "workflows", "params", params().replace(": 1", ": NaN"), "params[0].default"),
    ("dataform", "workflows", "params", params().replace(": 1", ": 1e400"), "params[0].default"),
    ("dataform", "workflows", "params", '[{"name": "a", "name": "b"}]', "params"),
    ("dataform", "workflows", "params", '[{"name": "a", "default": "\\ud800"}]', "params[0].default"),
    ("dataform", "workflows", "params", '[{"name": "a", "default": "\\u0000"}]', "params[0].default"),
    ("dataform", "workflows", "params", json.dumps([{"name": "a" * 100_000 + "é"}]), "params[0].name"),
    ("dataform", "workflows", "default_args", json.dumps({"retries": BIG}), "default_args.retries"),
    ("dataform", "workflows", "tags", json.dumps(["x" * 101]), "tags[0]"),
    ("dataform", "workflows", "tags", json.dumps([[]] * 3), "tags[0]"),
    ("dataform", "workflows", "timezone", "right/Europe/Berlin", "timezone"),
    ("dataform", "workflows", "timezone", "Factory", "timezone"),
    ("dataform", "workflows", "start_date", "0001-01-01", "start_date"),
    ("dataform", "workflows", "start_date", "9999-12-31T23:59:59", "start_date"),
    ("dataform", "workflows", "schedule", "0 0 31 2 *", "schedule"),
    ("dataform", "workflows", "file_pattern", "gs://b/" + "{a,b}" * 20, "file_pattern"),
    ("dataform", "tasks", "config", json.dumps({**DATAFORM, "vars": {"a": BIG}}), "config.vars.a"),
    ("dataform", "tasks", "config", TOO_SLOW, "config.poll_interval"),
    ("dataform", "tasks", "config", "[" * 5 + "]" * 5, "config"),
    ("bigquery_load", "tasks", "config", load(extra_config={"a": [BIG]}), "config.extra_config.a[0]"),
    ("bigquery_load", "tasks", "config", load(skip_leading_rows=BIG), "config.skip_leading_rows"),
    ("bigquery_query", "tasks", "config", query(type="NUMERIC", value=BIG), "config.query_parameters[0].value"),
    ("power_bi_refresh", "tasks", "config", refresh(retryCount=BIG), "config.refresh.retryCount"),
    ("dataform", "tasks", "retries", 1001, "retries"),
]
_GOOD = {
    "dataform": dict(DATAFORM),
    "bigquery_load": json.loads(load()),
    "bigquery_query": {"sql": "SELECT 1"},
    "power_bi_refresh": {"workspace": "w", "semantic_model": "m"},
}


@dataclass(frozen=True)
class HostileUpdate:
    """
    What is done to one row of a workflow of its own.

    :param number: which one it is; it makes the ids.
    :param task_type: of the workflow's task, as long as it is good.
    :param place: where in the row the error must say that the mistake is.
    """

    number: int
    task_type: str
    table: str
    column: str
    value: Any
    place: str

    @property
    def workflow_id(self) -> str:
        """The workflow that is spoiled."""
        return f"hostile_{self.number:02}"

    @property
    def task_id(self) -> str:
        """Its only task."""
        return f"t{self.number:02}"

    @property
    def mark(self) -> str:
        """What the line of the error begins with: table, key and column."""
        return f"- {self.table} row {self.workflow_id if self.table == 'workflows' else self.task_id}: {self.place}: "

    def carry_out(self, url: str | None = None) -> bool:
        """
        Write it, as a person with a database client would.

        :return: False where the database itself refuses: PostgreSQL knows that NaN is no JSON.
        """
        key, row = ("workflow_id", self.workflow_id) if self.table == "workflows" else ("task_id", self.task_id)
        statement = text(f"UPDATE {self.table} SET {self.column} = :value WHERE {key} = :row")
        try:
            with write_session(url) as session:
                session.execute(statement, {"value": self.value, "row": row})
        except DataError:
            assert "NaN" in self.value
            return False
        return True


HOSTILE = tuple(HostileUpdate(number, *update) for number, update in enumerate(_HOSTILE))


def rows(healthy: int, hostile: Sequence[HostileUpdate]) -> Rows:
    """
    Return good rows.

    :param healthy: so many workflows that nobody touches.
    :param hostile: each gets a workflow to spoil.
    """
    found = Rows()
    for number in range(healthy):
        found.workflows.append({"workflow_id": f"healthy_{number:03}", "schedule": "0 5 * * *", "timezone": "Europe/Berlin"})
        found.tasks.append({"task_id": f"h{number}", "workflow_id": f"healthy_{number:03}", "task_type": "external"})
    for update in hostile:
        found.workflows.append({"workflow_id": update.workflow_id, "schedule": "@daily"})
        task = {"task_id": update.task_id, "workflow_id": update.workflow_id, "task_type": update.task_type}
        found.tasks.append({**task, "config": _GOOD[update.task_type]})
    return found
