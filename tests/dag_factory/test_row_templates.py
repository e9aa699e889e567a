"""What rows write as templates is rendered in a run, and nothing else is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from dag_factory.task_types import templated_keys
from dag_factory.task_types.registry import task_types
from tests.dag_factory.definitions import Rows, template_context
from tests.dag_factory.stored_dag import build

LATE = datetime(2026, 3, 16, 23, 30, tzinfo=UTC)
TEMPLATE = "{{ params.country }}"
#: Type → configurations with a template in each of its keys that may have one.
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "dataform": [
        {
            "project_id": TEMPLATE,
            "region": TEMPLATE,
            "repository_id": TEMPLATE,
            "git_commitish": TEMPLATE,
            "vars": {"a": TEMPLATE},
            "compilation_config": {"schema_suffix": TEMPLATE},
            "included_targets": [TEMPLATE, {"schema": TEMPLATE, "name": TEMPLATE}],
            "included_tags": [TEMPLATE],
            "service_account": TEMPLATE,
            "gcp_conn_id": TEMPLATE,
            "impersonation_chain": [TEMPLATE],
        },
        *(
            {"project_id": "p", "region": "r", "repository_id": "x", source: TEMPLATE}
            for source in ("workspace", "release_config", "workflow_config")
        ),
    ],
    "power_bi_refresh": [
        {
            "workspace": TEMPLATE,
            "semantic_model": TEMPLATE,
            "refresh": {"effectiveDate": TEMPLATE},
            "powerbi_conn_id": TEMPLATE,
        },
        {"workspace": "w", "report": TEMPLATE},
        {"workspace": "w", "dataflow": TEMPLATE},
    ],
    "bigquery_load": [
        {
            "bucket": TEMPLATE,
            "source_objects": [TEMPLATE],
            "destination_table": TEMPLATE,
            "schema_object": TEMPLATE,
            "schema_object_bucket": TEMPLATE,
            "extra_config": {"a": TEMPLATE},
            "impersonation_chain": TEMPLATE,
            "gcp_conn_id": TEMPLATE,
        },
        {"bucket": "b", "source_objects": "x", "destination_table": "d.t", "schema_fields": [{"name": TEMPLATE}]},
    ],
    "bigquery_query": [
        {
            "sql": "SELECT @a, @b",
            "destination_table": TEMPLATE,
            "query_parameters": [
                {"name": "a", "type": "DATE", "value": TEMPLATE},
                {"name": "b", "type": "INT64", "values": [1, TEMPLATE]},
            ],
            "impersonation_chain": TEMPLATE,
            "gcp_conn_id": TEMPLATE,
        }
    ],
    "bigquery_check": [
        {
            "sql": "SELECT @a",
            "query_parameters": [{"name": "a", "type": "DATE", "value": TEMPLATE}],
            "pass_value": TEMPLATE,
            "impersonation_chain": TEMPLATE,
            "gcp_conn_id": TEMPLATE,
        }
    ],
    "gcs_archive": [
        {
            "source_bucket": TEMPLATE,
            "source_prefix": TEMPLATE + "/",
            "destination_bucket": TEMPLATE,
            "destination_prefix": TEMPLATE + "/",
            "match_glob": TEMPLATE,
            "gcp_conn_id": TEMPLATE,
            "impersonation_chain": [TEMPLATE],
        },
        {"source_bucket": "b", "source_object": TEMPLATE, "destination_object": TEMPLATE + "x"},
    ],
    "gcs_delete": [
        {
            "bucket": TEMPLATE,
            "prefix": TEMPLATE + "/",
            "match_glob": TEMPLATE,
            "gcp_conn_id": TEMPLATE,
            "impersonation_chain": [TEMPLATE],
        },
        {"bucket": "b", "object": TEMPLATE},
    ],
    "http": [
        {
            "endpoint": "{country}",
            "path_parameters": {"country": TEMPLATE},
            "query_parameters": {"a": TEMPLATE, "b": [TEMPLATE]},
            "method": "POST",
            "headers": {"X-Country": TEMPLATE},
            "json": {"a": [TEMPLATE]},
            "http_conn_id": TEMPLATE,
        },
        {"endpoint": "x", "method": "POST", "data": {"a": TEMPLATE}},
        {"endpoint": "x", "method": "POST", "data": TEMPLATE},
    ],
    "human_approval": [{"subject": TEMPLATE, "body": TEMPLATE}],
    "pubsub_publish": [
        {
            "topic": TEMPLATE,
            "messages": [{"data": {"a": [TEMPLATE]}, "attributes": {"a": TEMPLATE}, "ordering_key": TEMPLATE}],
            "gcp_conn_id": TEMPLATE,
            "impersonation_chain": [TEMPLATE],
        }
    ],
    "sql": [
        {"conn_id": TEMPLATE, "sql": "SELECT 1", "parameters": {"a": TEMPLATE}},
        {"conn_id": TEMPLATE, "sql": "SELECT 1", "parameters": [TEMPLATE]},
    ],
    "run_workflow": [{"workflow": "w", "params": {"country": [TEMPLATE]}, "airflow_conn_id": TEMPLATE}],
}
CONFIGS["wait_for_workflow"] = [{"workflow": "w", "batch_id": TEMPLATE, "airflow_conn_id": TEMPLATE}]
CONFIGS["gcs_copy"] = CONFIGS["gcs_archive"]


def rendered(rows: Rows, task_id: str, *, conf: dict[str, Any] | None = None) -> Any:
    dag = build(rows, only_task=task_id)
    context = template_context(dag, task_id, run_id="Batch_1", run_after=LATE, conf=conf)
    task = dag.get_task(task_id)
    task.render_template_fields(context)
    return task


def test_templates_render_in_a_run_that_a_message_started(rows: Rows) -> None:
    assert rendered(rows, "stg_orders").vars == {"day": "2026-03-17", "batch": "Batch_1"}
    archive = rendered(rows, "archive_orders")
    assert archive.destination_prefix == "archive/daily_sales/archive_orders/2026-03-17/"
    load = rendered(rows, "load_orders", conf={"country": "AT"})
    assert load.source_objects == ["AT/orders.sql"]


def test_every_templated_key_of_every_type_renders(rows: Rows) -> None:
    """The keys that rows may write templates in are those that the operators render, no more and no fewer."""
    types = task_types()
    # All types but the one whose operator renders nothing, and those that run what others wrote: see test_named_operators.
    assert {*CONFIGS, "external", "operator", "python"} == set(types)
    key_of = {
        "destination_project_dataset_table": "destination_table",
        "conf": "params",
        "bucket_name": "bucket",
        "object_name": "object",
    }
    for name, examples in CONFIGS.items():
        task_type = types.get(name)
        assert task_type is not None
        seen, rendered_keys = set(), set()
        for config in examples:
            rows.task("stg_orders").update(task_type=name, config=config)
            task = rendered(rows, "stg_orders", conf={"country": "AT"})
            values = {field: getattr(task, field) for field in task.template_fields}
            assert "{{" not in json.dumps(values), values
            seen |= {key for key, value in config.items() if "{{" in json.dumps(value)}
            rendered_keys |= {key_of.get(field, field) for field in task.template_fields}
        templated = templated_keys(task_type.config_model)
        assert seen == templated
        keys = {info.alias or field for field, info in task_type.config_model.model_fields.items()}
        assert rendered_keys & keys == templated


def test_a_template_in_a_message_stays_text(rows: Rows) -> None:
    rows.workflow("daily_sales")["params"] = [{"name": "country"}]
    attack = "{{ conn.secret.password }}{% for x in y %}"
    task = rendered(rows, "load_orders", conf={"country": attack})

    assert task.source_objects == [f"{attack}/orders.sql"]
