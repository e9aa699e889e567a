"""An invocation that no action fits has done nothing, which is a mistake unless the task says that it may be."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.emulators.scenario import RepositorySpec
from tests.provider.operators.dataform_world import REPOSITORY, dataform, disturb, invocation, of_main, started


def nothing_fits(**changes: Any) -> dict[str, Any]:
    return dataform(empty_selection="succeeds", **changes)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        ({"included_tags": ["dayly"]}, r"No action fits included_tags \['dayly'\]: correct it"),
        (
            {"included_targets": "mart.order", "included_tags": "dayly"},
            "No action fits included_targets 'mart.order', included_tags 'dayly'",
        ),
    ],
)
def test_a_selection_that_fits_nothing_is_an_error_which_no_retry_mends(start_cloud, life, selection, reason, deferrable):
    cloud = start_cloud(**nothing_fits())
    task = life(lambda: of_main(deferrable=deferrable, **selection))

    with pytest.raises(AirflowFailException, match=f"ran nothing. {reason}.*or set `allow_empty`. See https://"):
        task.run()

    assert task.entry["outcome"] == "failed"
    assert len(started(cloud)) == 1


def test_a_repository_without_actions_is_an_error(start_cloud, life):
    start_cloud(**nothing_fits(actions=[], workflow_configs=[]))

    with pytest.raises(AirflowFailException, match="ran nothing. No action is in the repository"):
        life(of_main).run()


def test_a_workflow_config_that_fits_nothing_is_named(start_cloud, life):
    config = {"name": "nightly", "release_config": "production", "included_tags": ["dayly"]}
    start_cloud(**nothing_fits(workflow_configs=[config]))

    with pytest.raises(AirflowFailException, match="ran nothing. No action fits workflow_config 'nightly'"):
        life(lambda: invocation(workflow_config="nightly")).run()


def test_where_it_may_be_it_succeeds(start_cloud, life):
    start_cloud(**nothing_fits())
    task = life(lambda: of_main(included_tags="dayly", allow_empty=True))

    result = task.run()

    assert (result["state"], result["actions"]) == ("SUCCEEDED", [])
    assert task.entry["outcome"] == "success"


@pytest.mark.parametrize("selection", [{}, {"included_tags": "dayly"}])
def test_actions_that_cannot_be_read_are_not_taken_for_none(start_cloud, life, selection):
    cloud = start_cloud(**nothing_fits())
    disturb(cloud, "QueryWorkflowInvocationActions", grpc_status="PERMISSION_DENIED", times=None)
    task = life(lambda: of_main(**selection))

    result = task.run()

    assert (result["state"], result["actions"]) == ("SUCCEEDED", [])
    assert task.entry["outcome"] == "success"


def test_a_worker_that_died_before_it_noted_the_end_is_followed_by_the_same_error(start_cloud, life):
    cloud = start_cloud(**nothing_fits())
    task = life(lambda: of_main(included_tags="dayly"))
    unanswered = disturb(cloud, "GetWorkflowInvocation", grpc_status="UNAVAILABLE", times=None)
    assert isinstance(task.begin(), TaskDeferred)  # and the process that would resume never comes
    cloud.rules.remove(unanswered)

    with pytest.raises(AirflowFailException, match="ran nothing"):
        task.run()

    assert len(started(cloud)) == 1


def test_an_emulated_service_refuses_it_unless_told_otherwise(start_cloud, life):
    assert RepositorySpec().empty_selection == "refused"
    start_cloud(**dataform())

    with pytest.raises(AirflowFailException, match=f"answered INVALID_ARGUMENT: No action of compilation result {REPOSITORY}"):
        life(lambda: of_main(included_tags="dayly", allow_empty=True)).run()
