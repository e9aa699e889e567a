"""An id that is a dot segment turned the cancel of a refresh into the deletion of a semantic model."""

from __future__ import annotations

from typing import Any

import pytest

from provider.exceptions import AcceleratorError, ConfigurationError
from provider.hooks.bigquery import BigQueryJobHook
from provider.hooks.dataform.hook import DataformInvocationHook
from provider.hooks.http_call import http_call
from provider.hooks.paths import check_path, path
from provider.hooks.powerbi.hook import PowerBIHook
from provider.hooks.powerbi.transport import ApiRequest, PowerBIApi
from provider.hooks.remote_job import RemoteCallError
from provider.hooks.wait_budget import WaitBudget
from tests.provider.defects.hostile_world import JOB
from tests.provider.defects.raw_server import RawServer, http
from tests.provider.operators.powerbi_world import powerbi

pytestmark = pytest.mark.timeout(120)

INVOCATION = "projects/{}/locations/l/repositories/r/workflowInvocations/{}"

#: What a server, a proxy or a library resolves to another path, some after decoding it.
SEGMENTS = [
    "..",
    ".",
    "%2e%2e",
    "%2E.",
    "%252e%252e",
    "../x",
    "x/../..",
    "..\\x",
    "%2e%2e%2f",
    "x%2f..",
    "a/b",
    "",
    "..;",
    "x\n",
    "é",
]


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize(
    ("kind", "field", "call"),
    [
        *(("semantic_model", field, call) for field in ("id", "item_id", "workspace_id") for call in ("cancel", "status")),
        *(("dataflow", field, "cancel") for field in ("id", "workspace_id")),
        *(("dataflow", field, "status") for field in ("item_id", "workspace_id")),
    ],
)
def test_no_call_of_power_bi_but_what_was_meant(start_cloud, segment, kind, field, call):
    """With the real client against the emulator, which sees no call at all."""
    cloud = start_cloud(**powerbi())

    with pytest.raises(RemoteCallError, match="is no id that can be part of an address; nothing was sent") as raised:
        getattr(PowerBIHook(), call)({**JOB, "kind": kind, field: segment})

    assert not raised.value.retryable

    assert [entry.operation for entry in cloud.ledger.entries(service="powerbi")] == []


@pytest.mark.parametrize("sent", ["groups/w/datasets/m/refreshes/..", "groups/w/./x", "groups/%2e%2e/x", "a\\..\\b", "../../x"])
def test_path_is_looked_at_as_the_library_sends_it(power_bi, sent):
    """Whoever makes a path in another way than by parts is stopped here."""
    server: RawServer = power_bi(lambda method, path, headers: http(200, {}))
    hook = PowerBIHook()

    with pytest.raises(RemoteCallError, match="nothing was sent"):
        hook._run(PowerBIApi(hook.settings, hook.budget).send(ApiRequest("DELETE", sent)))

    assert server.requests == []


@pytest.mark.parametrize("sent", ["/jobs/..", "/jobs/%2e%2e/x", "/jobs/%252e%252e/x", "/jobs/.", "/jobs\\..\\x"])
def test_service_that_speaks_http_has_the_same_check(sent):
    with RawServer(lambda method, path, headers: http(200, {})) as server:
        with pytest.raises(RemoteCallError, match="can be taken for another one; nothing was sent"):
            http_call("DELETE", f"{server.url}{sent}", WaitBudget(call=5.0))
    assert server.requests == []


@pytest.mark.parametrize("sent", ["/a/..b/c..d/...", "/v1.0/x%20y", "/a%3Ab"])
def test_honest_paths_pass(sent):
    check_path(sent)


def test_parts_are_quoted():
    assert path("groups", "2020-01-01T00:00:00Z@guid$1") == "groups/2020-01-01T00%3A00%3A00Z%40guid%241"


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize(
    ("service", "handle"),
    [
        (PowerBIHook, lambda bad: {**JOB, "id": bad}),
        (PowerBIHook, lambda bad: {**JOB, "item_id": bad}),
        (
            DataformInvocationHook,
            lambda bad: {"id": "x", "name": INVOCATION.format(bad, "i")},
        ),
        (
            DataformInvocationHook,
            lambda bad: {"id": "x", "name": INVOCATION.format("p", bad)},
        ),
        (BigQueryJobHook, lambda bad: {"id": "x", "project_id": bad, "location": "EU", "job_id": "j"}),
        (BigQueryJobHook, lambda bad: {"id": "x", "project_id": "p", "location": "EU", "job_id": bad}),
    ],
)
def test_recorded_handle_is_refused(service: Any, handle: Any, segment: str):
    with pytest.raises(ConfigurationError, match="is not what this service records"):
        service.check_job(handle(segment))


@pytest.mark.parametrize("place", [{"project_id": "../x"}, {"region": ".."}, {"repository_id": "a/../b"}])
def test_parameters_of_dataform_are_checked_before_a_call(start_cloud, place):
    from tests.provider.operators.dataform_world import dataform

    cloud = start_cloud(**dataform())
    request: Any = {"project_id": "p", "region": "r", "repository_id": "s", "invocation_config": {}}
    request |= {"source": {"git_commitish": "main"}, "vars": None, "compilation_config": None, **place}

    with pytest.raises(AcceleratorError, match="is no id that can be part of an address"):
        DataformInvocationHook().prepare(request)

    assert cloud.ledger.entries(service="dataform") == []
