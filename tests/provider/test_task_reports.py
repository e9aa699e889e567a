"""What listeners read from a task is what operators of remote jobs, and the guard, leave there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk.exceptions import AirflowSkipException

from provider.operators.powerbi import PowerBIDataflowRefreshOperator
from provider.operators.task_batch import ScopeGuard
from provider.task_reports import TellsHowToEndIt, TellsRemoteJob, TellsSkipReason


def test_operators_of_remote_jobs_tell_of_their_job() -> None:
    operator: Any = PowerBIDataflowRefreshOperator(task_id="refresh", workspace="w", dataflow="d")
    other: Any = EmptyOperator(task_id="other")

    assert isinstance(operator, TellsRemoteJob)
    assert isinstance(operator, TellsHowToEndIt)
    assert not isinstance(other, TellsRemoteJob)
    assert not isinstance(other, TellsHowToEndIt)


def test_a_task_that_the_guard_skips_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    task: Any = EmptyOperator(task_id="skipped")
    assert not isinstance(task, TellsSkipReason)
    monkeypatch.setattr(ScopeGuard, "skip_reason", lambda self, context: "out of scope")
    context: Any = {"ti": SimpleNamespace(task=task)}

    with pytest.raises(AirflowSkipException):
        ScopeGuard()(context)

    assert isinstance(task, TellsSkipReason)
    assert task.skip_reason == "out of scope"
