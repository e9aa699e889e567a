"""An operator whose remote service is in memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from provider.hooks.wait_budget import WaitBudget
from provider.operators import remote_job
from provider.operators.remote_job import RemoteJobOperator
from tests.provider.operators.conftest import TaskLife
from tests.provider.operators.scripted_service import REQUEST, ScriptedService

#: What the operator's connection is.
CONNECTION = {"conn_id": "c", "act_as": None}


class JobOperator(RemoteJobOperator):
    """Runs jobs of the scripted service; ``earlier`` has what each request was told of the job before."""

    service_name = "scripted"
    job_noun = "job"
    template_fields = ("conn_id", "act_as")
    earlier: list[Any]

    def __init__(self, *, conn_id: str = "c", act_as: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.act_as = act_as
        self.earlier = []

    def request(self, context: Any, earlier: Any) -> Any:
        self.earlier.append(earlier)
        return REQUEST


def life_with(
    service: ScriptedService, monkeypatch: pytest.MonkeyPatch, *, cls: type[JobOperator] = JobOperator, **kwargs: Any
) -> TaskLife:
    """Return the tries of a task whose operator finds *service* under its name."""
    opened_with: list[WaitBudget] = []

    def opened(name: str, connection: dict[str, Any], budget: WaitBudget) -> ScriptedService:
        assert (name, connection["conn_id"]) == ("scripted", "c")
        opened_with.append(budget)
        return service

    monkeypatch.setattr(remote_job, "open_service", opened)
    monkeypatch.setattr(remote_job, "service_class", lambda name: SimpleNamespace(connection_fields=("conn_id", "act_as")))
    return TaskLife(lambda: cls(**{"task_id": "job", "initial_wait": 0.0, "wait_timeout": 600.0, **kwargs}))
