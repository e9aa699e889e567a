"""One line for whatever the service calls an error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from provider.hooks.powerbi.errors import already_running, response_error
from provider.hooks.remote_job import RemoteCallError


class TestErrors:
    def error(self, status: int, body: Any, method: str = "POST", **headers: str) -> RemoteCallError:
        answer = httpx.Response(status, json=body, headers=headers)
        return response_error(f"Power BI {method} refreshes", method, answer)

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({"error": {"code": "ItemNotFound", "message": "Dataset x\nis gone"}}, "ItemNotFound: Dataset x is gone"),
            ({"message": "API is not accessible"}, "API is not accessible"),
            (
                {
                    "error": {
                        "code": "DM_Gateway",
                        "pbi.error": {"details": [{"code": "Reason", "detail": {"value": "no driver"}}]},
                    }
                },
                "DM_Gateway; Reason: no driver",
            ),
        ],
    )
    def test_every_shape_of_body_becomes_one_line(self, body, text):
        assert text in str(self.error(400, body))

    def test_permission_and_request_id(self):
        error = self.error(403, {"error": {"code": "PowerBINotAuthorizedException"}}, RequestId="4711")

        assert "Contributor in the workspace" in str(error)
        assert "Request id 4711." in str(error)
        assert error.retryable is False

    @pytest.mark.parametrize(
        ("status", "method", "retryable", "maybe_done"),
        [
            (500, "POST", True, True),
            (503, "DELETE", True, True),
            (503, "GET", True, False),
            (429, "POST", True, False),
            (400, "POST", False, False),
            (404, "GET", False, False),
        ],
    )
    def test_what_an_answer_means_for_the_next_call(self, status, method, retryable, maybe_done):
        error = self.error(status, {"error": {"code": "X"}}, method)

        assert (error.retryable, error.maybe_done) == (retryable, maybe_done)

    def test_daily_limit_is_not_retryable_though_it_is_a_429(self):
        error = self.error(429, {"error": {"code": "DailyDataflowRefreshLimitExceeded"}}, **{"Retry-After": "3392"})

        assert error.retryable is False
        assert error.retry_after == 3392.0
        assert "tomorrow" in str(error)

    def test_retry_after_may_be_a_date(self):
        moment = (datetime.now(tz=UTC) + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")

        error = self.error(429, {}, **{"Retry-After": moment})

        assert error.retry_after == pytest.approx(3600, abs=30)

    def test_already_running_is_told_by_its_text_and_not_by_its_code_alone(self):
        text = "Invalid dataset refresh request. Another refresh request is already executing"
        assert already_running(self.error(400, {"error": {"code": "InvalidRequest", "message": text}}))
        assert not already_running(self.error(400, {"error": {"code": "InvalidRequest", "message": "timeout"}}))
