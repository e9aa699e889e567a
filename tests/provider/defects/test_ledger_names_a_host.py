"""What a task writes into its ledger sends the Google token of the reconciler nowhere: the connection alone names a host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent import futures
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google.auth
import google.oauth2.credentials
import grpc
import pytest
import trustme

from provider.exceptions import ConfigurationError
from provider.reconciler.airflow_state import RemoteJobState, TryState
from provider.reconciler.orphaned_jobs import Orphan, end_job
from tests.provider.operators.dataform_world import cancelled, of_main, one_action

pytestmark = pytest.mark.timeout(120)

OPERATOR = {"gcp_conn_id": "google_cloud_default", "impersonation_chain": None}


class OtherHost(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """A host of somebody else, with a certificate that this machine trusts; it keeps what it is sent."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        self.authorities = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.authorities)
        self.seen: list[tuple[str, Any]] = []
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((self,))
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        credentials = grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])
        self.address = f"localhost:{self.server.add_secure_port('localhost:0', credentials)}"

    def service(self, handler_call_details: Any) -> None:
        metadata = dict(handler_call_details.invocation_metadata)
        self.seen.append((handler_call_details.method, metadata.get("authorization")))


@pytest.fixture
def other_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherHost]:
    host = OtherHost(tmp_path)
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(host.authorities))
    machine = google.oauth2.credentials.Credentials("TOKEN-OF-THE-MACHINE")
    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (machine, "demo-project"))
    host.server.start()
    yield host
    host.server.stop(None)


def orphan(ledger: dict[str, Any]) -> Orphan:
    """Return a task that a person ended, with this ledger."""
    now = datetime.now(UTC)
    attempt = TryState("t", -1, 1, "failed", now, now, now, True)
    jobs = RemoteJobState(tries={}, job=ledger["job"], running=True, chain=0, service=ledger["service"])
    return Orphan(("d", "r"), attempt, jobs, (), now, now)


def forged(host: OtherHost, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a task could write so that another host is asked."""
    address = f"https://{host.address}"
    places = {"api_endpoint": address, "dataform_endpoint": address, "host": address, "extra": {"dataform_endpoint": address}}
    service = {"name": "dataform", "conn_id": "google_cloud_default"}
    old = {"classpath": "provider.triggers.dataform.DataformInvocationTrigger", "kwargs": {**OPERATOR, "job": job, **places}}
    yield {"job": {**job, **places}, "service": {**service, **places}, "watcher": old}
    yield {"job": {**job, "name": f"{address}/{job['name']}"}, "service": service}
    yield {"job": job, "service": {**service, "conn_id": f"google-cloud-platform://?dataform_endpoint={address}"}}
    yield {"job": job, "service": {**service, "name": "provider.hooks.dataform.hook.DataformInvocationHook"}}


@pytest.mark.parametrize(
    ("which", "refused"),
    [(0, None), (1, "is not what this service records"), (2, "the task's definition says"), (3, "No remote service is called")],
)
def test_no_host_gets_a_token_that_a_task_named(start_cloud, life, other_host, which, refused):
    cloud = start_cloud(**one_action(seconds=60.0))
    task = life(of_main)
    task.begin()
    job = task.entry["job"]
    ledger = list(forged(other_host, job))[which]

    if refused:
        with pytest.raises(ConfigurationError, match=refused):
            asyncio.run(end_job(orphan(ledger), OPERATOR))
    else:
        assert asyncio.run(end_job(orphan(ledger), OPERATOR))

    assert other_host.seen == []
    assert cancelled(cloud) == ([] if refused else [job["name"]])


def test_the_other_host_would_have_seen_it(other_host, monkeypatch):
    """It is no proof otherwise: where the connection names that host, the token does arrive."""
    extra = {"dataform_endpoint": f"https://{other_host.address}"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "google_cloud_platform", "extra": extra}))
    name = "projects/demo-project/locations/europe-west3/repositories/sales/workflowInvocations/one"
    ledger = {"job": {"id": "one", "url": "", "name": name}, "service": {"name": "dataform", "conn_id": "other"}}

    with pytest.raises(Exception, match="UNIMPLEMENTED"):
        asyncio.run(end_job(orphan(ledger), {**OPERATOR, "gcp_conn_id": "other"}))

    assert {token for _, token in other_host.seen} == {"Bearer TOKEN-OF-THE-MACHINE"}
