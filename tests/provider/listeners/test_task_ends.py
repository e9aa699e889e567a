"""What a task's own process says of its end: the cause, and the error in words."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout, TaskDeferralTimeout

from provider.exceptions import RemoteJobError
from provider.listeners.task_ends import cause_of_end, error_text, note_skip_reason


def failed_for_good() -> BaseException:
    """Return what a remote job's operator raises where no retry can help."""
    try:
        try:
            raise RemoteJobError("the refresh failed")
        except RemoteJobError as error:
            raise AirflowFailException(str(error)) from error
    except AirflowFailException as error:
        return error


@pytest.mark.parametrize(
    ("status", "error", "reason", "cause"),
    [
        ("PROCESSING", None, None, None),
        ("SUCCESS", None, None, "task"),
        ("ERROR", ValueError("x"), None, "task"),
        ("ERROR", "a text", None, "task"),
        ("ERROR", RemoteJobError("x"), None, "remote"),
        ("ERROR", failed_for_good(), None, "remote"),
        ("ERROR", AirflowTaskTimeout("Timeout, PID: 7"), None, "execution_timeout"),
        ("ERROR", TaskDeferralTimeout("Trigger timeout"), None, "execution_timeout"),
        ("SKIPPED", None, "nothing to do", "task"),
        ("SKIPPED", None, "the task is disabled", "scope"),
        ("SKIPPED", None, "out of scope of this batch", "scope"),
        ("SKIPPED", None, "parent skipped: a", "upstream"),
        ("SKIPPED", None, None, "task"),
    ],
)
def test_what_ended_a_try(status: str, error: BaseException | str | None, reason: str | None, cause: str | None) -> None:
    assert cause_of_end(status, error, reason) == cause


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("Table raw.suppliers was not found"), "Table raw.suppliers was not found"),
        ("as Airflow says", "as Airflow says"),
        (KeyError("orders"), "KeyError: 'orders'"),
        (SystemExit(7), "SystemExit: 7"),
        (ValueError(), "ValueError"),
        (AirflowTaskTimeout("Timeout, PID: 7"), "ran longer than its timeout of 90 s (Timeout, PID: 7)"),
        (
            TaskDeferralTimeout("Trigger timeout"),
            "waited longer than its timeout allows: its trigger did not fire in time (Trigger timeout)",
        ),
    ],
)
def test_an_error_in_words_that_explain_something(error: BaseException | str, text: str) -> None:
    assert error_text(error, SimpleNamespace(execution_timeout=timedelta(seconds=90))) == text


class Choosy(BaseOperator):
    def execute(self, context: Any) -> str:
        return self.choose(context)

    def choose(self, context: Any, **_: Any) -> str:
        if context["skip"] is not None:
            raise AirflowSkipException(*context["skip"])
        return "done"


@pytest.mark.parametrize("call", ["execute", "resume_execution"])
@pytest.mark.parametrize(("skip", "reason"), [(("no rows for today",), "no rows for today"), ((), None), (None, None)])
def test_a_task_that_skips_itself_leaves_its_reason(call: str, skip: Any, reason: str | None) -> None:
    task: Any = Choosy(task_id="choosy")
    note_skip_reason(task)
    noting = task.execute
    note_skip_reason(task)
    assert task.execute is noting, "once is enough"
    context: Any = {"skip": skip}
    arguments = {"context": context} if call == "execute" else {"next_method": "choose", "next_kwargs": {}, "context": context}
    if skip is None:
        assert getattr(task, call)(**arguments) == "done"
    else:
        with pytest.raises(AirflowSkipException):
            getattr(task, call)(**arguments)
    assert getattr(task, "skip_reason", None) == reason
