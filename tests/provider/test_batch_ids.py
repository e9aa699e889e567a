"""Batch ids from outside: what is accepted, what is refused, and that an accepted one is a URL segment as it is."""

from __future__ import annotations

import httpx
import pytest
from airflow.utils.types import DagRunType

from provider.batch_ids import check_batch_id, check_dag_id, quote_run_id
from provider.exceptions import MessageError

HOSTILE = [
    "x/clear",
    "../other/x",
    "a?b=1",
    "a#b",
    "a%2Fclear",
    "a b",
    "",
    ".",
    "..",
    "a..b",
    "x" * 201,
    "x" * 300,
    "a\n",
    "a\x00",
    "ä",
    "{{ ds }}",
    "a\\b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_url_or_a_folder_would_misread_is_refused(text: str) -> None:
    with pytest.raises(MessageError, match="A-Z a-z 0-9"):
        check_batch_id(text)


@pytest.mark.parametrize(
    "text", [*(DagRunType(kind).generate_run_id(suffix="x") for kind in DagRunType), "__airflow_temporary_run_2026-01-01__"]
)
def test_prefixes_of_airflow_are_refused(text: str) -> None:
    with pytest.raises(MessageError, match=text.removesuffix("x").removesuffix("2026-01-01__")):
        check_batch_id(text)


@pytest.mark.parametrize("text", ["Batch_20240316_001", "x" * 200, "a+b:c~d.e-f", "manual", "msg_123", "-"])
def test_accepted_ids_are_one_url_segment_as_they_are(text: str) -> None:
    assert check_batch_id(text) == text
    assert quote_run_id(text) == text
    sent = httpx.Request("POST", f"http://server/execution/dag-runs/dag/{quote_run_id(text)}").url
    assert sent.path == f"/execution/dag-runs/dag/{text}"


@pytest.mark.parametrize("text", HOSTILE[:6])
def test_quoting_keeps_everything_else_inside_its_segment(text: str) -> None:
    sent = httpx.Request("POST", f"http://server/dag-runs/dag/{quote_run_id(text)}").url
    assert sent.raw_path.count(b"/") == 3
    assert (sent.query, sent.fragment) == (b"", "")


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a?b", "x" * 251, "a b"])
def test_ids_that_cannot_name_a_dag_are_refused(text: str) -> None:
    with pytest.raises(MessageError, match="workflow_id"):
        check_dag_id(text)


def test_a_long_value_is_shown_short() -> None:
    with pytest.raises(MessageError) as caught:
        check_batch_id("x" * 100_000)
    assert len(str(caught.value)) < 300
