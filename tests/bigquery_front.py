"""
What bqemulator lacks of BigQuery's documented behaviour, in front of it.

- A job id names one job for good: a second insert is answered 409 (``alreadyExists``). bqemulator runs it again.
- ``jobs.insert`` answers at once, and the job runs beside it. bqemulator answers when the job has ended.
- ``jobs.cancel`` ends a job that runs with the reason ``stopped``.
- A load job reads its files from Cloud Storage, ``*`` in their names included. bqemulator reads them from a folder.
- A job is in the location that it was inserted with. bqemulator says ``US``.

Everything else, the execution of every job above all, is bqemulator's.

.. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/insert
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.gate import Gate

_JOBS = re.compile(r"/bigquery/v2/projects/(?P<project>[^/]+)/(?P<kind>jobs|queries)(/(?P<job_id>[^/]+)(?P<cancel>/cancel)?)?")
DEFAULT_LOCATION = "US"


@dataclass
class Job:
    """One job, as ``jobs.get`` shows it."""

    project: str
    job_id: str
    location: str
    configuration: dict[str, Any]
    state: str = "RUNNING"
    error: dict[str, Any] | None = None
    statistics: dict[str, Any] = field(default_factory=lambda: {"creationTime": str(int(time.time() * 1000))})

    @property
    def place(self) -> str:
        return f"{self.project}:{self.location}.{self.job_id}"

    @property
    def succeeded(self) -> bool:
        return self.state == "DONE" and self.error is None

    def end(self, error: dict[str, Any] | None = None, **statistics: Any) -> None:
        self.error = error
        self.statistics |= {**statistics, "endTime": str(int(time.time() * 1000))}
        self.state = "DONE"

    def resource(self) -> dict[str, Any]:
        status: dict[str, Any] = {"state": self.state}
        if self.error is not None:
            status |= {"errorResult": self.error, "errors": [self.error]}
        return {
            "kind": "bigquery#job",
            "id": self.place,
            "jobReference": {"projectId": self.project, "jobId": self.job_id, "location": self.location},
            "configuration": self.configuration,
            "status": status,
            "statistics": self.statistics,
        }


class BigQueryFront(Gate):
    """
    The jobs of BigQuery, executed by bqemulator.

    :param upstream: base URL of bqemulator.
    :param storage: base URL of the Cloud Storage server.
    :param files: the folder that bqemulator takes for Cloud Storage (``BQEMU_GCS_LOCAL_ROOT``).
    """

    def __init__(self, upstream: str, *, storage: str, files: Path) -> None:
        super().__init__(upstream)
        self.jobs: dict[str, Job] = {}
        self._storage, self._files = storage, files
        self._working = threading.Event()
        self._working.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        self._working.set()
        super().stop()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let jobs that are inserted meanwhile run until the end of the block; what they do is done after it."""
        self._working.clear()
        try:
            yield
        finally:
            self._working.set()

    async def answer(self, request: Request) -> Response:
        match = _JOBS.fullmatch(request.url.path)
        if match is None:
            return await super().answer(request)
        project, job_id = match["project"], match["job_id"]
        if job_id is None:
            if match["kind"] == "queries" or request.method != "POST":
                return await super().answer(request)
            return self._insert(project, await request.json())
        job = self.jobs.get(f"{project}/{job_id}")
        if job is None or request.query_params.get("location", job.location) != job.location:
            return _error(404, "notFound", f"Not found: Job {project}:{job_id}")
        if match["cancel"]:
            if job.state != "DONE":
                job.end({"reason": "stopped", "message": "Job execution was cancelled: User requested cancellation"})
            return JSONResponse({"kind": "bigquery#jobCancelResponse", "job": job.resource()})
        if match["kind"] == "jobs":
            return JSONResponse(job.resource())
        if job.state != "DONE":
            return JSONResponse({"jobReference": job.resource()["jobReference"], "jobComplete": False})
        return await super().answer(request)

    def _insert(self, project: str, body: dict[str, Any]) -> Response:
        reference = body["jobReference"]
        location = reference.get("location") or DEFAULT_LOCATION
        job = Job(project, reference["jobId"], location, body["configuration"])
        key = f"{project}/{job.job_id}"
        if key in self.jobs:
            return _error(409, "duplicate", f"Already Exists: Job {self.jobs[key].place}")
        self.jobs[key] = job
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return JSONResponse(job.resource())

    async def _run(self, job: Job) -> None:
        await asyncio.to_thread(self._working.wait)
        if job.state == "DONE":
            return
        configuration = json.loads(json.dumps(job.configuration))
        try:
            if load := configuration.get("load"):
                load["sourceUris"] = [name for uri in load["sourceUris"] for name in await self._fetch(uri)]
            body = {"jobReference": {"projectId": job.project, "jobId": job.job_id}, "configuration": configuration}
            found = await self.client.post(f"{self.upstream}/bigquery/v2/projects/{job.project}/jobs", json=body)
        except FileNotFoundError as error:
            job.end({"reason": "notFound", "message": f"Not found: URI {error}"})
            return
        if found.is_error:
            job.end(found.json()["error"]["errors"][0])
            return
        job.configuration = {**found.json()["configuration"], **job.configuration}
        job.end(found.json()["status"].get("errorResult"), **found.json()["statistics"])

    async def _fetch(self, uri: str) -> list[str]:
        """Copy the objects that a URI names to the folder; return the URI of each."""
        bucket, _, pattern = uri.removeprefix("gs://").partition("/")
        objects = f"{self._storage}/storage/v1/b/{quote(bucket, safe='')}/o"
        listed = (await self.client.get(objects, params={"prefix": pattern.partition("*")[0]})).json().get("items", [])
        names = [item["name"] for item in listed if fnmatch.fnmatchcase(item["name"], pattern)]
        if not names:
            raise FileNotFoundError(uri)
        for name in names:
            content = (await self.client.get(f"{objects}/{quote(name, safe='')}", params={"alt": "media"})).raise_for_status()
            target = self._files / bucket / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.content)
        return [f"gs://{bucket}/{name}" for name in names]


def _error(code: int, reason: str, message: str) -> Response:
    detail = {"reason": reason, "domain": "global", "message": message}
    return JSONResponse({"error": {"code": code, "message": message, "errors": [detail]}}, code)
