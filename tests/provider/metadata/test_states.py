"""Every state of Airflow means something in the application database."""

from __future__ import annotations

from provider.metadata import states


def test_every_airflow_state_has_a_status() -> None:
    from airflow.utils.state import DagRunState, TaskInstanceState

    assert {state.value for state in TaskInstanceState} <= set(states.STATUS_OF_TASK_STATE)
    assert {state.value for state in DagRunState} <= set(states.STATUS_OF_RUN_STATE)


def test_an_end_is_whatever_is_not_unfinished() -> None:
    statuses = {*states.STATUS_OF_TASK_STATE.values(), *states.STATUS_OF_RUN_STATE.values()}
    assert statuses - set(states.UNFINISHED) == states.ENDS
    assert set(states.RANKS) == set(states.UNFINISHED)
    assert all(rank < states.RANK_OF_END for rank in states.RANKS.values())
