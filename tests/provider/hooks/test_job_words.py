"""What is said of a job and of a failed call: texts of one line, results that Airflow can store, and what an error means."""

from __future__ import annotations

from typing import Any

import pytest

from provider.exceptions import LONGEST_MESSAGE
from provider.hooks.remote_job import (
    DEEPEST_RESULT,
    DETAIL_LENGTH,
    AcceptedWithoutIdError,
    CannotCancelError,
    JobBusyError,
    JobNotFoundError,
    JobStatus,
    RemoteCallError,
)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_texts_of_a_status_are_one_line_and_no_longer_than_their_columns():
    status = JobStatus("failed", "In\nProgress" * 1000, "a\nb" * 10_000)

    assert status.detail == ("In Progress" * 1000)[: DETAIL_LENGTH - 1] + "…"
    assert status.error == ("a b" * 10_000)[: LONGEST_MESSAGE - 1] + "…"


def test_result_is_kept_as_it_is_up_to_a_depth():
    assert JobStatus("done", result=nested(DEEPEST_RESULT)).result == nested(DEEPEST_RESULT)
    assert list(JobStatus("done", result=nested(DEEPEST_RESULT + 1)).result) == ["omitted"]


def test_result_that_cannot_be_stored_is_left_out_and_says_where_and_why():
    result = JobStatus("done", result={"rows": float("nan")}).result

    assert list(result) == ["omitted"]
    assert result["omitted"].startswith("the service's result has something at '")
    assert "rows" in result["omitted"]
    assert "that cannot be stored (" in result["omitted"]


def test_place_of_what_cannot_be_stored_is_cut():
    result = JobStatus("done", result={"x" * 1000: float("nan")}).result

    assert f"'{'x' * (DETAIL_LENGTH - 1)}…' that cannot be stored" in result["omitted"]


@pytest.mark.parametrize(("state", "ended"), [("running", False), ("done", True), ("failed", True)])
def test_job_has_ended_when_it_does_not_run(state, ended):
    assert JobStatus(state).ended is ended


@pytest.mark.parametrize(
    ("make", "retryable", "maybe_done", "retry_after", "status_code"),
    [
        (lambda: RemoteCallError("text"), True, False, None, None),
        (
            lambda: RemoteCallError("text", retryable=False, maybe_done=True, retry_after=7.0, status_code=503),
            False,
            True,
            7.0,
            503,
        ),
        (lambda: AcceptedWithoutIdError("text"), True, True, None, None),
        (lambda: JobNotFoundError("text"), False, False, None, 404),
        (lambda: CannotCancelError("text"), False, False, None, None),
    ],
)
def test_error_of_a_call_says_what_can_be_done(make, retryable, maybe_done, retry_after, status_code):
    error = make()
    assert str(error) == "text"
    assert (error.retryable, error.maybe_done, error.retry_after, error.status_code) == (
        retryable,
        maybe_done,
        retry_after,
        status_code,
    )


def test_busy_place_names_the_other_job():
    other = {"id": "1", "url": "u"}

    assert (str(JobBusyError("busy", other=other)), JobBusyError("busy", other=other).other) == ("busy", other)
    assert JobBusyError("busy", other=other).retryable
