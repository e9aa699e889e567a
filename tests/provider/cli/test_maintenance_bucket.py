"""The DAG ``accelerator_maintenance`` reads workflows from Cloud Storage."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from provider.cli import maintenance
from tests.google_servers import GoogleServers
from tests.provider.cli.test_maintenance import WORKFLOW
from tests.provider.operators.conftest import google_servers, running_google_servers  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("embedded_database")


def act(file: str) -> None:
    params: dict[str, Any] = {name: param.value for name, param in maintenance.form().items()}
    maintenance.carry_out({**params, "action": "import", "file": file}, "manual__1")


def test_an_object_is_imported(google_servers: GoogleServers, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    google_servers.put("definitions", {"of sales/workflows.yaml": WORKFLOW, "bad.yaml": "workflows: 7"})
    act("gs://definitions/of sales/workflows.yaml")
    assert "Workflows: 1 created" in capsys.readouterr().out
    with pytest.raises(AirflowFailException, match="exit code 1"):
        act("gs://definitions/bad.yaml")
    assert "bad.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["gs://definitions/none.yaml", "gs://no-bucket/none.yaml"])
def test_an_object_that_is_not_there(google_servers: GoogleServers, address: str) -> None:  # noqa: F811
    with pytest.raises(AirflowFailException, match=f"{address} cannot be read .NotFound: "):
        act(address)


def test_an_object_that_is_too_large_is_not_read_to_its_end(
    google_servers: GoogleServers,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from provider import input_files

    for module in (maintenance, input_files):
        monkeypatch.setattr(module, "MAX_BYTES", 1000)
    google_servers.put("definitions", {"large.yaml": "#" * 5000})
    read = maintenance._download("gs://definitions/large.yaml")
    with contextlib.suppress(AirflowFailException):
        act("gs://definitions/large.yaml")
    assert (len(read), "is larger than" in capsys.readouterr().err) == (1001, True)
