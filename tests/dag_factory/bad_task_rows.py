"""Rows of tasks and of their dependencies with one mistake each, and the line that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dag_factory.task_types.registry import BUILT_IN
from tests.dag_factory.definitions import DATAFORM, Rows


def _set(task_id: str, name: str, value: Any) -> Callable[[Rows], None]:
    return lambda rows: rows.task(task_id).__setitem__(name, value)


def _config(task_id: str, name: str, value: Any) -> Callable[[Rows], None]:
    return lambda rows: rows.task(task_id)["config"].__setitem__(name, value)


TASK = "tasks row dim_date: "

BAD_TASK_ROWS: dict[str, tuple[Callable[[Rows], object], str]] = {
    "letters of another alphabet": (
        _set("dim_date", "task_id", "dim_däte"),
        "tasks row dim_däte: task_id: has 'ä', but only letters a to z can be used with `airflow dags test`; rename it",
    ),
    "unknown column of a task": (
        _set("dim_date", "retires", 3),
        TASK + "retires: unknown key; did you mean retries? known keys are: config, depends_on_past, display_name, doc, enabled, "
        "executor, expand, max_active_tis_per_dag, max_active_tis_per_dagrun, max_retry_delay_seconds, on_parent_skip, outlets, "
        "owner, pool, pool_slots, priority, queue, retries, retry_backoff, retry_delay_seconds, run_if, task_group, task_id, "
        "task_type, timeout_seconds, weight_rule, workflow_id",
    ),
    "characters": (
        _set("dim_date", "task_id", "dim/date"),
        "tasks row dim/date: task_id: may hold letters, digits, '_', '-' and '.' only; rename it",
    ),
    "line end": (
        _set("dim_date", "task_id", "dim_date\n"),
        "tasks row dim_date: task_id: may hold letters, digits, '_', '-' and '.' only; rename it",
    ),
    "dots": (
        _set("dim_date", "task_id", ".."),
        "tasks row ..: task_id: consists of dots only, which an address would take for a folder; rename it",
    ),
    "length": (
        _set("dim_date", "task_id", "x" * 241),
        f"tasks row {'x' * 80}…: task_id: is longer than 240 bytes; shorten it",
    ),
    "reserved task": (
        _set("dim_date", "task_id", "start_batch"),
        "tasks row start_batch: task_id: start_batch is the task that opens every batch; rename it",
    ),
    "reserved last task": (
        _set("dim_date", "task_id", "batch_watcher"),
        "tasks row batch_watcher: task_id: batch_watcher is the task that fails a batch in which a task failed; rename it",
    ),
    "task type": (
        _set("dim_date", "task_type", "datafrom"),
        TASK + "task_type: 'datafrom' is not known; did you mean dataform? known types are: " + ", ".join(sorted(BUILT_IN)),
    ),
    "a copy into itself": (
        lambda rows: rows.task("archive_orders").update(
            task_type="gcs_copy", config={**rows.task("archive_orders")["config"], "destination_prefix": "orders/copies/"}
        ),
        "tasks row archive_orders: config: destination_prefix: is the source itself or in it; name another place",
    ),
    "an asset's user": (
        _set("dim_date", "outlets", "s3://me:hunter2@bucket/x"),
        TASK + "outlets[0]: the URI of an asset must name no user or password; take it out",
    ),
    "an asset's query": (
        _set("dim_date", "outlets", ["postgresql://server/db/s/t?password=hunter2"]),
        TASK + "outlets[0]: the URI of an asset must have no query and no fragment; take out what begins with ? or #",
    ),
    "an asset that stands for a batch": (
        _set("dim_date", "outlets", ["X-Accelerator://workflows/daily_sales"]),
        TASK + "outlets[0]: 'X-Accelerator://workflows/daily_sales' is made by a batch alone; write the workflow's id into after",
    ),
    "an asset's length": (
        _set("dim_date", "outlets", ["x-t://" + "x" * 1000]),
        TASK + f"outlets[0]: string should have at most 1000 characters, not 'x-t://{'x' * 73}… (1008 characters)",
    ),
    "a condition that Python cannot compile": (
        _set("dim_date", "run_if", "not " * 220 + "params.scope"),
        TASK + "run_if: is nested deeper than 60 levels in a template; write a shorter one",
    ),
    "an asset's name": (
        _set("dim_date", "outlets", ["dim_date"]),
        TASK + "outlets[0]: 'dim_date' is not the URI of an asset; write it like bigquery://project/dataset/table",
    ),
    "condition": (
        _set("stg_orders", "run_if", "params.cuntry = 'DE'"),
        "tasks row stg_orders: run_if: not a condition such as params.region == 'EU': chunk after expression",
    ),
    "condition on what is not declared": (
        _set("stg_orders", "run_if", "params.cuntry == 'DE'"),
        "tasks row stg_orders: run_if: params.cuntry is not declared; did you mean country? params of the workflow are: "
        "country, from_day, scope, start_task_id",
    ),
    "condition that calls": (
        _set("stg_orders", "run_if", "params.country.lower() == 'de'"),
        "tasks row stg_orders: run_if: call is not allowed in a template; use batch_date, batch_id, params, task_id, workflow_id "
        "and filters",
    ),
    "a question without an end": (
        lambda rows: rows.task("dim_date").update(task_type="human_approval", config={"subject": "Go on?", "on_timeout": "ask"}),
        TASK + "config.on_timeout: must be one of 'fail', 'approve', 'reject', not 'ask'",
    ),
    "instances of a wait for a message": (
        lambda rows: rows.task("dim_date").update(task_type="external", config={}, expand=["a", "b"]),
        TASK + "expand: a task of type external has one instance; make a task of each",
    ),
    "an instance twice": (
        _set("dim_date", "expand", ["de", "fr", "de"]),
        TASK + """expand: '"de"' given more than once; keep one""",
    ),
    "no list of instances": (_set("dim_date", "expand", "de"), TASK + "expand: must be a list, not 'de'"),
    "instances without a difference": (
        _set("dim_date", "expand", ["de", "fr"]),
        TASK + "expand: no text of the config has {{ item }}, so all instances would do the same; write it there",
    ),
    "an instance without a value": (
        lambda rows: rows.task("dim_date").update(
            expand=[{"tag": "daily"}, {"tga": "weekly"}],
            config={**rows.task("dim_date")["config"], "included_tags": "{{ item.tag }}"},
        ),
        TASK + "expand: [1]: has no 'tag'; did you mean tga? item has: tga",
    ),
    "group with a dot": (
        _set("stg_orders", "task_group", "clean.orders"),
        "tasks row stg_orders: task_group: may hold letters, digits, '_' and '-' only; rename it",
    ),
    "group named as a task": (
        _set("stg_orders", "task_group", "load_orders"),
        "tasks row stg_orders: task_group: load_orders is a task too; rename one",
    ),
    "groups in a circle": (
        lambda rows: (
            rows.task("load_orders").update(task_group="ends"),
            rows.task("refresh_daily_sales").update(task_group="ends"),
        ),
        "tasks row load_orders: task_group: the groups and tasks form a cycle: archive_orders → ends → archive_orders; take a "
        "task out of its group",
    ),
    "retries": (_set("dim_date", "retries", -1), TASK + "retries: must be greater than or equal to 0, not -1"),
    "retries as text": (_set("dim_date", "retries", "1"), TASK + "retries: must be a whole number, not '1'"),
    "enabled as text": (_set("dim_date", "enabled", "no"), TASK + "enabled: must be true or false, not 'no'"),
    "on_parent_skip": (
        _set("dim_date", "on_parent_skip", "wait"),
        TASK + "on_parent_skip: must be one of 'skip', 'run', not 'wait'",
    ),
    "config no object": (
        _set("dim_date", "config", '{"project_id": '),
        TASK + """config: must be an object such as {"key": "value"}, not '{"project_id": '""",
    ),
    "config null": (
        _set("dim_date", "config", None),
        TASK + 'config: must be an object such as {"key": "value"}, not empty',
    ),
    "missing key": (lambda rows: rows.task("dim_date")["config"].pop("project_id"), TASK + "config.project_id: missing; add it"),
    "wrong type of key": (_config("dim_date", "region", 3), TASK + "config.region: must be text, not 3"),
    "two sources": (
        _config("dim_date", "workspace", "dev"),
        TASK + "config: give exactly one of git_commitish, workspace, release_config, workflow_config; given: git_commitish, "
        "workspace",
    ),
    "settings beside a release": (
        lambda rows: (
            rows.task("dim_date")["config"].pop("git_commitish"),
            rows.task("dim_date")["config"].update(release_config="production", vars={"a": "b"}),
        ),
        TASK + "config: release_config brings its own vars; remove it here",
    ),
    "settings beside a workflow config": (
        lambda rows: (
            rows.task("dim_date")["config"].pop("git_commitish"),
            rows.task("dim_date")["config"].update(
                workflow_config="nightly", compilation_config={"table_prefix": "x"}, included_tags="daily"
            ),
        ),
        TASK + "config: workflow_config brings its own compilation_config, included_tags; remove them here",
    ),
    "setting of the compilation": (
        _config("dim_date", "compilation_config", {"suffix": "dev"}),
        TASK + "config.compilation_config: compilation_config has no 'suffix'; it has default_database, default_schema, "
        "default_location, assertion_schema, database_suffix, schema_suffix, table_prefix",
    ),
    "setting that is no text": (
        _config("dim_date", "compilation_config", {"schema_suffix": 3}),
        TASK + "config.compilation_config.schema_suffix: must be text, not 3",
    ),
    "target": (
        _config("dim_date", "included_targets", [{"schema": "x"}]),
        TASK + "config.included_targets[0]: name: missing; add it",
    ),
    "target key": (
        _config("dim_date", "included_targets", [{"name": "x", "shema": "y"}]),
        TASK + "config.included_targets[0]: shema: unknown key; did you mean schema? known keys are: database, name, schema",
    ),
    "target as text": (
        _config("dim_date", "included_targets", ["a.b.c.d"]),
        TASK + "config.included_targets[0]: must look like database.schema.name, schema.name or name, not 'a.b.c.d'",
    ),
    "target no object": (
        _config("dim_date", "included_targets", [3]),
        TASK + "config.included_targets[0]: must be an object, not 3",
    ),
    "refresh body": (
        _config("refresh_daily_sales", "refresh", {"type": "ful"}),
        "tasks row refresh_daily_sales: config.refresh: type: must be one of 'full', 'clearValues', 'calculate', 'dataOnly', "
        "'automatic', 'defragment', not 'ful'",
    ),
    "Power BI's old name of a workspace": (
        lambda rows: rows.task("refresh_daily_sales").update(
            config={"workspace": "Sales", "dataflow": "Orders", "group_id": "x"}
        ),
        "tasks row refresh_daily_sales: config.group_id: unknown key; did you mean workspace?",
    ),
    "Power BI's old name of a model": (
        _config("refresh_daily_sales", "dataset", "Sales"),
        "tasks row refresh_daily_sales: config.dataset: unknown key; did you mean semantic_model?",
    ),
    "model and report": (
        _config("refresh_daily_sales", "report", "Sales"),
        "tasks row refresh_daily_sales: config: give exactly one of semantic_model, report, dataflow; given: semantic_model, "
        "report",
    ),
    "dataflow with refresh": (
        lambda rows: rows.task("refresh_daily_sales").update(
            config={"workspace": "Sales", "dataflow": "Orders", "refresh": {"type": "full"}}
        ),
        "tasks row refresh_daily_sales: config: refresh: a dataflow has no enhanced refresh; remove it",
    ),
    "bucket as address": (
        _config("load_orders", "bucket", "gs://landing"),
        "tasks row load_orders: config.bucket: must be the name of a bucket alone, without gs:// and folder",
    ),
    "table": (
        _config("load_orders", "destination_table", "orders"),
        "tasks row load_orders: config.destination_table: must look like project.dataset.table or dataset.table, not 'orders'",
    ),
    "archive in itself": (
        _config("archive_orders", "destination_prefix", "orders/old/"),
        "tasks row archive_orders: config: destination_prefix: is the source itself or in it; name another place",
    ),
    "folder": (
        _config("archive_orders", "source_prefix", "orders"),
        "tasks row archive_orders: config.source_prefix: must end with '/', as the name of a folder",
    ),
    "undeclared param": (
        _config("stg_orders", "git_commitish", "{{ params.cuntry }}"),
        "tasks row stg_orders: config.git_commitish: params.cuntry is not declared; did you mean country? params of the workflow "
        "are: country, from_day, scope, start_task_id",
    ),
    "template where none is rendered": (
        _config("load_orders", "location", "{{ params.country }}"),
        "tasks row load_orders: config.location: cannot hold a template; write a plain value",
    ),
    "template in a key": (
        _config("stg_orders", "vars", {"{{ batch_id }}": "x"}),
        "tasks row stg_orders: config.vars (a key of it): cannot hold a template; write a plain value",
    ),
    "other workflow": (
        lambda rows: rows.depend("stg_orders", "dim_date"),
        "task_dependencies row stg_orders → dim_date: stg_orders belongs to workflow daily_sales, but dim_date to calendar; a "
        "dependency stays inside one workflow",
    ),
    "unknown parent": (
        lambda rows: rows.depend("dim_dat", "dim_date"),
        "task_dependencies row dim_dat → dim_date: dim_dat is not a task of this workflow; did you mean dim_date? tasks of "
        "workflow calendar are: dim_date",
    ),
    "edge to itself": (
        lambda rows: rows.depend("dim_date", "dim_date"),
        "task_dependencies row dim_date → dim_date: a task cannot depend on itself; delete the row",
    ),
    "edge twice": (
        lambda rows: rows.depend("load_orders", "stg_orders"),
        "task_dependencies row load_orders → stg_orders: given more than once; keep one",
    ),
    "edge with more": (
        lambda rows: rows.dependencies[0].update(chlid_id="x"),
        "task_dependencies row load_orders → stg_orders: unknown key chlid_id; known keys are: child_id, parent_id",
    ),
    "edge without ids": (
        lambda rows: rows.depend(None, "dim_date"),
        "task_dependencies row None → dim_date: needs two task ids: parent_id and child_id",
    ),
    "cycle": (
        lambda rows: rows.depend("refresh_daily_sales", "load_orders"),
        "workflows row daily_sales: dependencies form a cycle: archive_orders → refresh_daily_sales → load_orders → "
        "archive_orders; delete one of them",
    ),
    "task twice": (
        lambda rows: rows.tasks.append({**rows.task("stg_orders"), "workflow_id": "calendar"}),
        "tasks row stg_orders: task_id: used already by workflow daily_sales; task ids are unique over all workflows, rename one",
    ),
    "task of no workflow": (
        lambda rows: rows.tasks.append(
            {"task_id": "lost", "workflow_id": "gone", "task_type": "dataform", "config": dict(DATAFORM)}
        ),
        "tasks row lost: workflow_id: there is no row gone in workflows; add it",
    ),
    "row no object": (lambda rows: rows.tasks.append(7), "tasks row (without task_id): must be an object, not 7"),
    "NUL": (
        _set("dim_date", "doc", "a\x00b"),
        TASK + "doc: holds a NUL character, which cannot be stored; remove it",
    ),
    "half a character": (
        _config("dim_date", "vars", {"a": "\ud800"}),
        TASK + "config.vars.a: holds half a surrogate pair, or bytes that are not UTF-8, which cannot be stored; remove it",
    ),
    "not a number": (
        _config("dim_date", "poll_interval", float("nan")),
        TASK + "config.poll_interval: is not a finite number; write another",
    ),
    "more than 64 bits": (
        _config("dim_date", "vars", {"a": 2**64}),
        TASK + "config.vars.a: is a whole number of more than 64 bits, which Airflow cannot hand to a task; write it as text",
    ),
    "key that is no text": (
        _config("dim_date", "vars", {1: "a"}),
        TASK + "config.vars: the key 1 must be text; put it in quotes",
    ),
}
