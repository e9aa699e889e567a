"""The first poll of a triggerer imports Google's libraries, which takes seconds: not on its event loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from provider.emulators.scenario import Scenario
from provider.emulators.server import Emulators

HEAVY = ("google.cloud.dataform_v1", "grpc", "airflow.providers.google.common.hooks.base_google")
PROGRAM = f"""
import asyncio, json, sys, threading
from provider.hooks.remote_job import RemoteCallError
from provider.triggers.remote_job import RemoteJobTrigger

HEAVY = {HEAVY!r}
imported = {{}}


class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in HEAVY:
            imported.setdefault(name, threading.current_thread() is threading.main_thread())
        return None


async def poll():
    job = {{"id": "x", "name": "projects/p/locations/l/repositories/r/workflowInvocations/x", "url": ""}}
    connection = {{"gcp_conn_id": "google_cloud_default", "impersonation_chain": None}}
    waiting = {{"poll_interval": 1, "cancel_on_kill": False, "budget": {{}}}}
    try:
        await RemoteJobTrigger(service="dataform", connection=connection, job=job, **waiting).status()
    except RemoteCallError as error:
        return str(error)


sys.meta_path.insert(0, Watch())
said = asyncio.run(poll())
print(json.dumps({{"said": said, "imported": imported}}))
"""


def test_google_is_imported_in_a_thread(tmp_path: Path) -> None:
    with Emulators(Scenario(), folder=tmp_path / "emulators", pubsub="builtin") as emulators:
        environment = {**os.environ, **emulators.environment(), "AIRFLOW_HOME": str(tmp_path / "airflow")}
        command = [sys.executable, "-c", PROGRAM]
        process = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)

    assert process.returncode == 0, process.stderr
    seen = json.loads(process.stdout.splitlines()[-1])
    assert "NOT_FOUND" in seen["said"]
    on_the_loop = dict.fromkeys(HEAVY, False)
    assert seen["imported"] == on_the_loop
