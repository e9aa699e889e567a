"""What a task's own process can say of its end: the cause, and the error in words that explain something."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from provider.exceptions import RemoteJobError
from provider.metadata.states import ENDS, EXECUTION_TIMEOUT, REMOTE, SCOPE, SCOPE_REASONS, SKIPPED, TASK, UPSTREAM
from provider.task_reports import PARENT_SKIPPED

#: Exceptions of Airflow's timeouts, by name: their own texts are "Timeout, PID: 7" and "Trigger timeout".
_TIMEOUTS = frozenset({"AirflowTaskTimeout", "TaskDeferralTimeout"})
#: An error of fewer words is no sentence: "7", "'orders'".
_SENTENCE = 2


def cause_of_end(status: str, error: BaseException | str | None, skip_reason: str | None) -> str | None:
    """
    Return ``TaskLog.end_cause`` of a try that has ended by itself; None for one that goes on.

    :param error: what a failed try ended with.
    :param skip_reason: of a task that has skipped itself; None where it does not say.
    """
    if status not in ENDS:
        return None
    if status == SKIPPED and skip_reason is not None:
        return SCOPE if skip_reason in SCOPE_REASONS else UPSTREAM if skip_reason.startswith(PARENT_SKIPPED) else TASK
    if type(error).__name__ in _TIMEOUTS:
        return EXECUTION_TIMEOUT
    if isinstance(error, BaseException) and isinstance(error.__cause__ or error, RemoteJobError):
        return REMOTE
    return TASK


def note_skip_reason(task: Any) -> None:
    """
    Let a task that skips itself leave the reason in ``task.skip_reason``.

    Airflow tells its listeners that a task has skipped itself, and only the task's log why. The runner takes these methods from
    the instance, after the hooks of the start.
    """

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            from airflow.sdk.exceptions import AirflowSkipException

            try:
                return method(*args, **kwargs)
            except AirflowSkipException as skip:
                if str(skip):
                    task.skip_reason = str(skip)
                raise

        return call

    if "execute" in vars(task):
        return  # `airflow dags test` runs one object again and again
    for name in ("execute", "resume_execution"):
        object.__setattr__(task, name, noting(getattr(task, name)))


def error_text(error: BaseException | str, task: Any) -> str:
    """
    Return what a failed try ended with; with the kind of error where its own text is no sentence.

    :param task: the operator, whose timeouts are named.
    """
    kind, text = type(error).__name__, str(error)
    if kind == "AirflowTaskTimeout":
        return f"ran longer than its timeout of {_seconds(task.execution_timeout)} ({text or kind})"
    if kind == "TaskDeferralTimeout":
        return f"waited longer than its timeout allows: its trigger did not fire in time ({text or kind})"
    if isinstance(error, BaseException) and len(text.split()) < _SENTENCE:
        return f"{kind}: {text}" if text else kind
    return text


def _seconds(timeout: Any) -> str:
    return "its execution_timeout" if timeout is None else f"{timeout.total_seconds():g} s"
