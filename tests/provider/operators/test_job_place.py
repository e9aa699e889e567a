"""What a start does where another job holds the place, policy by policy; with a service in memory."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import JobBusyError
from provider.operators.job_start import Obstacle
from tests.provider.operators.scripted_service import OTHER, ScriptedService, Tries


class TestAnotherJobInThePlace:
    def busy(self, other: dict[str, Any] | None = OTHER) -> ScriptedService:
        return ScriptedService(starts=[JobBusyError("busy: refreshed by others", other=other)])

    def test_wait(self):
        tries = Tries(self.busy(), "wait")

        with pytest.raises(Obstacle) as obstacle:
            tries.next()
        assert obstacle.value.other == OTHER
        assert tries.service.asked() == ["prepare", "start"]
        assert (tries.entry["intent"], tries.entry["job"]) == (None, None)

    def test_adopt(self):
        assert Tries(self.busy(), "adopt").next() == {**OTHER, "adopted": True}

    def test_cancel(self):
        tries = Tries(self.busy(), "cancel")

        with pytest.raises(Obstacle) as obstacle:
            tries.next()
        assert obstacle.value.other == OTHER
        assert tries.service.calls[-1] == ("cancel", OTHER)

    def test_fail(self):
        with pytest.raises(JobBusyError, match="refreshed by others"):
            Tries(self.busy(), "fail").next()

    def test_skip(self):
        with pytest.raises(AirflowSkipException, match="refreshed by others"):
            Tries(self.busy(), "skip").next()

    @pytest.mark.parametrize("policy", ["adopt", "cancel"])
    def test_a_job_without_a_name_can_only_be_waited_for(self, policy):
        tries = Tries(self.busy(None), policy)

        with pytest.raises(Obstacle) as obstacle:
            tries.next()
        assert obstacle.value.other is None
        assert "cancel" not in tries.service.asked()

    def test_a_policy_that_is_none(self):
        with pytest.raises(ConfigurationError, match=r"if_running is 'kill'; use one of wait, adopt, skip, fail, cancel\.$"):
            Tries(self.busy(), "kill").next()  # type: ignore[arg-type]
