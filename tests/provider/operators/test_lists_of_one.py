"""A single text where a list is meant is a list of one; iterated, it would be a list of its letters."""

from __future__ import annotations

from typing import Any

import pytest

from provider.hooks.bigquery import BigQueryJobHook
from provider.hooks.dataform.invocations import invocation_config
from provider.hooks.pubsub import check_subscriptions
from provider.hooks.pubsub_publisher import check_topic
from provider.operators.bigquery import BigQueryLoadOperator
from provider.operators.bigquery_query import BigQueryQueryOperator
from provider.operators.dataform import DataformWorkflowInvocationOperator

TARGET = {"schema": "mart", "name": "orders"}


@pytest.mark.parametrize(
    ("name", "given", "sent"),
    [
        ("included_tags", "orders", ["orders"]),
        ("included_tags", ("orders", "daily"), ["orders", "daily"]),
        ("included_targets", "mart.orders", [TARGET]),
        ("included_targets", TARGET, [TARGET]),
    ],
)
def test_a_text_for_a_list_of_dataform_selects_what_it_names(name: str, given: Any, sent: list[Any]) -> None:
    source: dict[str, Any] = {"project_id": "p", "region": "r", "repository_id": "s", "git_commitish": "main"}
    operator = DataformWorkflowInvocationOperator(task_id="t", **source, **{name: given})
    request: Any = operator.request({}, None)

    assert invocation_config(request["invocation_config"])[name] == sent


def test_a_text_for_a_list_of_a_load_job_is_a_list_of_one() -> None:
    operator = BigQueryLoadOperator(
        task_id="t",
        bucket="b",
        source_objects="x",
        destination_project_dataset_table="d.t",
        cluster_fields="country",
        schema_update_options="ALLOW_FIELD_ADDITION",
    )

    assert (operator.cluster_fields, operator.schema_update_options) == (["country"], ["ALLOW_FIELD_ADDITION"])


def test_a_text_for_the_values_of_a_query_parameter_is_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provider.operators.bigquery_query.google.labelled", lambda operator, hook, made: made)
    monkeypatch.setattr(BigQueryQueryOperator, "service", None)
    parameter = {"name": "countries", "type": "STRING", "values": "de"}
    operator = BigQueryQueryOperator(task_id="t", sql="SELECT @countries", query_parameters=parameter)
    (sent,) = operator.make_configuration()["query"]["queryParameters"]

    assert sent["parameterValue"]["arrayValues"] == [{"value": "de"}]


def test_a_text_for_a_list_of_subscriptions_is_one() -> None:
    assert check_subscriptions("projects/p/subscriptions/sub") == ["projects/p/subscriptions/sub"]


def test_subscriptions_and_topics_may_belong_to_a_domain() -> None:
    of_domain = "projects/example.com:p"
    assert check_subscriptions(f"{of_domain}/subscriptions/sub") == [f"{of_domain}/subscriptions/sub"]
    assert check_topic(f"{of_domain}/topics/starts") == f"{of_domain}/topics/starts"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("example.com:p.raw.orders", ("example.com:p", "raw", "orders")),
        ("example.com:p:raw.orders", ("example.com:p", "raw", "orders")),
        ("p.raw.orders", ("p", "raw", "orders")),
        ("p:raw.orders", ("p", "raw", "orders")),
        ("raw.orders", ("ours", "raw", "orders")),
    ],
)
def test_a_table_of_a_project_of_a_domain_is_taken_apart(
    name: str, parts: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "google-cloud-platform://")
    assert BigQueryJobHook(gcp_conn_id="google_cloud_default").split_tablename(name, "ours") == parts
