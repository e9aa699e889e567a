"""Rows that somebody may write by SQL: workflows of every task type with something wrong in them, in any column."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.dag_factory.definitions import DATAFORM
from tests.storms.fuzz_answers import RandomAnswers

#: Table → its columns with JSON.
JSON_COLUMNS = {"workflows": ("default_args", "params", "tags"), "tasks": ("config",), "task_dependencies": ()}

#: A good config of each task type.
CONFIGS: dict[str, dict[str, Any]] = {
    "external": {},
    "dataform": {**DATAFORM, "vars": {"day": "{{ batch_date }}"}, "included_tags": ["a"], "included_targets": ["a.b"]},
    "bigquery_load": {
        "bucket": "landing",
        "source_objects": ["{{ params.country }}/orders.csv"],
        "destination_table": "raw.orders",
        "schema_fields": [{"name": "id", "type": "INT64"}],
        "extra_config": {"maxBadRecords": 1},
    },
    "bigquery_query": {"sql": "SELECT @day", "query_parameters": [{"name": "day", "type": "DATE", "value": "{{ batch_date }}"}]},
    "bigquery_check": {
        "sql": "SELECT @day",
        "query_parameters": [{"name": "day", "type": "DATE", "value": "{{ batch_date }}"}],
        "pass_value": "{{ params.number }}",
        "tolerance": 0.1,
    },
    "http": {
        "endpoint": "shops/{country}/orders",
        "path_parameters": {"country": "{{ params.country }}"},
        "query_parameters": {"day": "{{ batch_date }}", "kind": ["a", 1]},
        "method": "POST",
        "headers": {"X-Batch": "{{ batch_id }}"},
        "json": {"rows": [1, None, "{{ params.number }}"]},
        "expected_status": [200, 404],
        "response_timeout": 60.0,
        "max_answer_bytes": 1000,
        "keep_answer": True,
    },
    "human_approval": {
        "subject": "Go on with {{ params.country }}?",
        "body": "{{ batch_id }}",
        "response_timeout": 60.0,
        "on_timeout": "reject",
        "approvers": [{"id": "1", "name": "ann"}],
    },
    "gcs_archive": {"source_bucket": "landing", "source_prefix": "orders/", "destination_prefix": "old/{{ batch_date }}/"},
    "gcs_copy": {"source_bucket": "landing", "source_object": "{{ params.country }}.csv", "destination_object": "old.csv"},
    "gcs_delete": {"bucket": "landing", "prefix": "tmp/{{ batch_id }}/", "match_glob": "**/*.csv", "allow_missing": True},
    "pubsub_publish": {
        "topic": "projects/p/topics/told",
        "messages": [{"data": {"day": "{{ batch_date }}"}, "attributes": {"a": "b"}, "ordering_key": "{{ params.country }}"}],
    },
    "sql": {"conn_id": "shop", "sql": ["SELECT :day"], "parameters": {"day": "{{ batch_date }}"}, "autocommit": True},
    "wait_for_workflow": {"workflow": "calendar", "batch_id": "{{ batch_date }}_{{ params.country }}", "wait_timeout": 60.0},
    "power_bi_refresh": {
        "workspace": "Sales",
        "semantic_model": "Daily",
        "refresh": {"type": "full", "objects": [{"table": "t"}]},
    },
}
PARAMS = [
    {"name": "country", "type": "string", "default": "DE", "enum": ["DE", "AT"]},
    {"name": "number", "type": ["integer", "null"], "default": 1, "minimum": 0, "maximum": 9},
    {"name": "day", "type": "string", "format": "date", "default": "2026-01-01"},
]
#: What is odd in a certain column alone: nearly right.
ODD_IN: dict[str, tuple[Any, ...]] = {
    "schedule": (
        "*/0 * * * *",
        "0 0 30 2 *",
        "@once",
        "R R * * *",
        "@daily",
        "60 * * * *",
        "0 0 * * MON#9",
        "0 5 * * * *",
        "L * * * *",
    ),
    "timezone": (
        "Europe/Berln",
        "../../etc/passwd",
        "UTC+5",
        "localtime",
        "right/UTC",
        "Etc/GMT+12",
        "Asia/Kathmandu",
        "EST5EDT",
    ),
    "start_date": ("0001-01-01", "2199-12-31T23:59:59.999999+14:00", "2026-02-30", "2026-W05", "20260101", "2026-03-29T02:30:00"),
    "file_pattern": (
        "gs://b/" + "{a,b}" * 20,
        "gs://",
        "gs://b/[",
        "gs://b/" + "*" * 50,
        "gs://b/{a",
        "s3://b/x",
        "gs://../x",
        "gs://b/**",
    ),
    "config": (
        {"a": "{{ 1/0 }}"},
        {"sql": "{{ ''.__class__.__mro__ }}"},
        {**DATAFORM, "vars": {"a": "{% for x in range(9) %}"}},
        {**DATAFORM, "poll_interval": 1e308, "wait_timeout": 1e308},
        {**DATAFORM, "region": "x" * 5000},
    ),
    "params": (
        [{"name": "a", "type": "string", "pattern": "("}],
        [{"name": "a", "pattern": "(a+)+$", "default": "a" * 40 + "b"}],
        [{"name": "a", "$ref": "http://127.0.0.1:1/x"}],
        [{"name": "a", "minLength": 10**9, "default": ""}],
        [{"name": "__class__"}, {"name": "conf"}, {"name": "a b"}],
        [{"name": "a", "type": "object", "default": {"b": [1, {"c": None}]}}],
    ),
    "tags": (["x" * 100], ["a", "a"], [""], ["a\nb"]),
    "default_args": ({"retries": 10**9}, {"pool": "x" * 300}, {"retry_delay_seconds": 2**40}, {"timeout_seconds": 1}),
    "retries": (1000, 1001, 2**31 - 1, -1),
    "retry_delay_seconds": (0, 2**31 - 1, 86_400 * 400),
    "timeout_seconds": (0, 1, 2**31 - 1),
    "priority": (2**31 - 1, -(2**31), 0),
    "max_active_batches": (0, 1, 2**31 - 1),
    "max_active_tasks": (0, 1, 2**31 - 1),
    "max_failed_batches": (0, 1, 2**31 - 1),
    "run_timeout_seconds": (0, 1, 2**31 - 1),
    "end_date": ("1000-01-01", "2026-01-01T05:00:00+14:00", "9999-12-31"),
    "retry_backoff": (0.0, 1.0, 100.0, 1e300, -1.0),
    "max_retry_delay_seconds": (0, 1, 2**31 - 1),
    "pool_slots": (0, 1, 2**31 - 1),
    "weight_rule": ("downstream", "upstream", "absolute", "os.system"),
    "queue": ("default", "x" * 256, "{{ ds }}"),
    "executor": ("LocalExecutor", "os.system", "x" * 256),
    "run_if": (
        "params.country == 'DE'",
        "params.nothing",
        "1 +",
        "[].__class__",
        "}}{{ 7 }}",
        "(" * 90,
        "not " * 220 + "params.country",
        "9**(9**9)",
        "1|round(9999999, 'ceil')",
    ),
    "task_group": ("extract", "start_batch", "a.b", "a b", "é"),
    "after": (
        [],
        "daily_sales",
        ["calendar", "calendar"],
        ["x://y"],
        ["://"],
        ["s3://user:secret@host/x"],
        ["x-accelerator://workflows/a"],
        [["a"]],
    ),
    "expand": ([], ["a"], ["a", "a"], [1, True, None], [{"a": "{{ params.x }}"}, {}], "a", {"a": 1}, list(range(501)), [[]]),
    "outlets": (
        [],
        "bigquery://p/d/t",
        ["bigquery://p"],
        ["airflow://x"],
        ["x://a", "x://a"],
        ["x-t://" + "x" * 1400],
        ["S3://b/k/"],
        ["x://a?b=c"],
        [7],
    ),
    "max_active_tis_per_dag": (0, 1, 2**31 - 1),
    "max_active_tis_per_dagrun": (0, 1, 2**31 - 1),
    "display_name": ("x" * 250, "<script>", "{{ ds }}"),
    "workflow_id": ("accelerator_x", "a" * 251, "x/../y", "%2e%2e"),
    "task_id": ("start_batch", "batch_watcher", "a.b", "é", "a" * 250, "a" * 251),
    "on_parent_skip": ("skip", "run", "RUN"),
    "task_type": (*CONFIGS, "dataforn", "operator", "python"),
    "pool": ("default_pool", "x" * 256, "a/b"),
    "description": ("x" * 100_000, "{{ ds }}", "<script>"),
    "doc": ("x" * 100_000, "{{ ds }}", "<script>"),
}
#: Task type → what a task with many instances has in its configuration, and the values of these.
EXPANDED: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "dataform": ({"included_tags": "{{ item }}", "vars": {"day": "{{ item | upper }}_{{ batch_date }}"}}, ["a", "b'}}", "é"]),
    "gcs_archive": (
        {"source_prefix": "{{ item.folder }}", "allow_missing": "{{ item.maybe }}"},
        [{"folder": "a/", "maybe": True}],
    ),
}
GOOD_OPTIONS: dict[str, Any] = {
    "description": "Sales",
    "schedule": "0 5 * * *",
    "timezone": "Europe/Berlin",
    "start_date": "2026-01-01",
    "catchup": False,
    "enabled": True,
    "max_active_batches": 4,
    "end_date": "2027-01-01",
    "paused_at_first": True,
    "max_active_tasks": 2,
    "max_failed_batches": 3,
    "run_timeout_seconds": 3600,
    "display_name": "Sales of the day",
    "doc": "*Sales*",
    "default_args": {"retries": 2, "pool": "sales", "queue": "sales", "depends_on_past": True},
    "params": PARAMS,
    "tags": ["sales"],
    "owner": "sales",
    "file_pattern": "gs://landing/*.csv",
    "file_min_size": 1,
}
GOOD_COLUMNS: dict[str, Any] = {
    "enabled": True,
    "on_parent_skip": "run",
    "retries": 1,
    "retry_delay_seconds": 60,
    "timeout_seconds": 600,
    "retry_backoff": 2.0,
    "max_retry_delay_seconds": 3600,
    "pool": "sales",
    "pool_slots": 2,
    "priority": 7,
    "weight_rule": "absolute",
    "queue": "sales",
    "run_if": "params.country == 'DE'",
    "task_group": "cleaning",
    "outlets": ["x-sales://clean"],
    "depends_on_past": True,
    "max_active_tis_per_dag": 2,
    "max_active_tis_per_dagrun": 1,
    "owner": "sales",
    "display_name": "Clean",
    "doc": "Cleans.",
}
#: Table → the columns that a row may lack.
OPTIONAL = {"workflows": tuple(GOOD_OPTIONS), "tasks": tuple(GOOD_COLUMNS), "task_dependencies": ()}


@dataclass(frozen=True)
class StoredText:
    """A text as SQLite may have it: of any bytes."""

    stored: bytes


def _nested(levels: int) -> tuple[str, str]:
    return "[" * levels + "]" * levels, '{"a":' * levels + "1" + "}" * levels


#: What SQL writes into any column, and no file can hold.
OF_SQL: tuple[Any, ...] = (
    *(b"ab", b"\xff", b"", b"1", b"[]", b"x" * 3000),
    *(StoredText(stored) for stored in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b'{"a": "\xff"}', b"[NaN, " + b"[" * 3000)),
    *(text for levels in (30, 45, 101, 500, 940, 3000) for text in _nested(levels)),
)


@dataclass(frozen=True)
class Row:
    """One row to be written; what is in a JSON column is a text already."""

    table: str
    values: dict[str, Any]


class RandomRows:
    """
    Makes rows, all of them fixed by a seed.

    :param random: where chance comes from.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._answers = RandomAnswers(random)

    def workflow(self, workflow_id: str) -> Iterator[Row]:
        """Yield the rows of one workflow, up to half of them spoiled."""
        chance = self._random
        options = {name: value for name, value in GOOD_OPTIONS.items() if chance.random() < 0.4}
        if "country" not in json.dumps(options.get("params", "")):
            options["params"] = PARAMS
        yield self._row("workflows", {"workflow_id": workflow_id, **options})
        task_ids = [f"{workflow_id}_{number}" for number in range(chance.choice((0, 1, 1, 2, 3, 5)))]
        for task_id in task_ids:
            task_type = chance.choice(list(CONFIGS))
            columns = {name: value for name, value in GOOD_COLUMNS.items() if chance.random() < 0.3}
            ids = {"task_id": task_id, "workflow_id": workflow_id}
            config = CONFIGS[task_type]
            if task_type in EXPANDED and chance.random() < 0.4:
                config, columns["expand"] = {**config, **EXPANDED[task_type][0]}, EXPANDED[task_type][1]
            yield self._row("tasks", {**ids, "task_type": task_type, "config": config, **columns})
        for child in range(1, len(task_ids)):
            ends = {"parent_id": task_ids[chance.randrange(child)], "child_id": task_ids[child]}
            if chance.random() < 0.05:
                ends = {"parent_id": ends["child_id"], "child_id": chance.choice(task_ids)}
            yield self._row("task_dependencies", ends)

    def _row(self, table: str, good: dict[str, Any]) -> Row:
        values = copy.deepcopy(good)
        for _ in range(self._random.choice((0, 0, 0, 0, 1, 1, 2, 4))):
            column = self._random.choice(
                [*values, *(GOOD_OPTIONS if table == "workflows" else GOOD_COLUMNS if table == "tasks" else ())]
            )
            values[column] = self._spoiled(column, values.get(column))
        json_columns = JSON_COLUMNS[table]
        written = {name: self._text(value) if name in json_columns else value for name, value in values.items()}
        if self._random.random() < 0.06:
            written[self._random.choice(list(written))] = self._random.choice(OF_SQL)
        return Row(table, written)

    def _spoiled(self, column: str, good: Any) -> Any:
        kind = self._random.random()
        if kind < 0.5 and column in ODD_IN:
            return copy.deepcopy(self._random.choice(ODD_IN[column]))
        if kind < 0.85 and isinstance(good, dict | list):
            return self._answers.document(good)
        return self._answers.odd()

    def _text(self, value: Any) -> Any:
        """Return a JSON text, or what is none."""
        kind = self._random.random()
        if kind < 0.01:
            return self._answers.body(value).decode("latin-1")
        return None if kind < 0.015 else self._answers.text(value)
