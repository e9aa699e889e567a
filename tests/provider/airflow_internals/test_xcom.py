"""Reading one XCom outside of a task's context."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseXCom
from airflow.sdk.execution_time import supervisor
from airflow.sdk.execution_time.comms import GetXCom, XComResult
from airflow.sdk.execution_time.xcom import XCom
from airflow.sdk.types import TaskInstanceKey

from provider.airflow_internals.xcom import xcom_value


@pytest.mark.parametrize("stored", ["https://service/job-1", None])
def test_an_xcom_of_a_task_instance_is_read(stored: str | None) -> None:
    asked: list[Any] = []

    def answer(message: Any) -> XComResult:
        asked.append(message)
        return XComResult(key=message.key, value=stored)

    assert issubclass(XCom, BaseXCom)
    key = TaskInstanceKey(dag_id="sales", task_id="load", run_id="b1", try_number=1, map_index=2)
    with supervisor.set_supervisor_comms(SimpleNamespace(send=answer)):
        assert xcom_value(key, "remote_job_url") == stored
    assert asked == [GetXCom(key="remote_job_url", dag_id="sales", run_id="b1", task_id="load", map_index=2)]
