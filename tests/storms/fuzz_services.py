"""
Random answers to every call of every remote service, and to the trigger: only errors of this package come out.

What comes back instead of an error fits into Airflow's stores, and no request goes anywhere but to what was meant.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from provider.airflow_internals import supervisor
from provider.exceptions import AcceleratorError
from provider.hooks import shared_services
from provider.hooks.powerbi import credentials, tokens
from provider.hooks.remote_job import JobStatus
from provider.hooks.remote_service import RemoteService, open_service, service_class
from provider.hooks.wait_budget import WaitBudget
from provider.plain_data import unstorable
from provider.triggers.remote_job import RemoteJobTrigger
from tests.storms import fuzz_good_answers as good_answers
from tests.storms.fuzz_answers import RandomAnswers
from tests.storms.fuzz_good_answers import MODEL, REPOSITORY, RUN, STARTER, TIMES, WORKSPACE
from tests.storms.fuzz_wires import Good, GrpcWire, HttpWire, returns
from tests.storms.outcome import Findings, Outcome, quiet

#: Longest error of ours, in characters.
LONGEST_ERROR = 12_000
SECRET = "the-client-secret"
ENTRA = "login.microsoftonline.com"

TASK: Any = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)

BUDGET = WaitBudget(call=5.0, first_event=0.0, cancels=1, listed=40, body=2**20)


@dataclass
class Service:
    """
    One service, and what is asked of it.

    :param request: what a job is asked for with.
    :param job: a handle that fits.
    :param intents: intents that fit.
    :param paths: the requests by HTTP that its calls may make.
    """

    name: str
    connection: dict[str, Any]
    requests: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    intents: list[dict[str, Any]]


# What may be asked for.

_ITEM = r"/v1\.0/myorg/groups/[0-9a-f-]{36}/(datasets|dataflows)/[0-9a-f-]{36}"
_ID = r"[A-Za-z0-9%$._~-]+"
ALLOWED: dict[str, re.Pattern[str]] = {
    "api.powerbi.com": re.compile(
        rf"GET /v1\.0/myorg/groups|GET /v1\.0/myorg/groups/[0-9a-f-]{{36}}/(datasets|dataflows|reports)(/[0-9a-f-]{{36}})?"
        rf"|GET {_ITEM}/(refreshes|transactions)|GET {_ITEM}/refreshes/{_ID}|POST {_ITEM}/refreshes"
        rf"|DELETE {_ITEM}/refreshes/{RUN}|POST /v1\.0/myorg/groups/{WORKSPACE}/dataflows/transactions/{RUN}/cancel"
    ),
    ENTRA: re.compile(r"(GET|POST) /.*"),
    "bigquery.googleapis.com": re.compile(r"(GET|POST) /bigquery/v2/projects/demo/(jobs(/job_\d+(/cancel)?)?|queries/job_1)"),
    "jobs.example": re.compile(r"GET /jobs(/1)?|POST /jobs(/1/cancel)?"),
    "airflow.example": re.compile(
        r"POST /auth/token|GET /api/v2/dags/w/dagRuns/n(\.\d+)?(/taskInstances)?|POST /api/v2/dags/w/dagRuns"
        r"|PATCH /api/v2/dags/w/dagRuns/n"
    ),
}


def _services() -> dict[str, Service]:
    handle = {"url": "https://app.powerbi.com", "workspace_id": WORKSPACE, "item_id": MODEL}
    model = {**handle, "id": RUN, "kind": "semantic_model", "enhanced": True, "started_at": TIMES["startTime"]}
    dataflow = {**model, "kind": "dataflow", "enhanced": False}
    intent = {**handle, "kind": "semantic_model", "enhanced": True, "known": [MODEL], "since": TIMES["startTime"]}
    items = ({"semantic_model": "Sales"}, {"report": "Sales"}, {"report": MODEL}, {"dataflow": "Sales"})
    invocation: dict[str, Any] = {"project_id": "demo", "region": "europe-west3", "repository_id": "sales"}
    invocation |= {"vars": None, "compilation_config": None}
    sources = ({"git_commitish": "main"}, {"workflow_config": "nightly"})
    compiled = {"parent": REPOSITORY, "source": {"compilation_result": f"{REPOSITORY}/compilationResults/1"}}
    scheduled = {"parent": REPOSITORY, "source": {"workflow_config": "w"}, "known": [], "since": "2026-11-28T05:00:00+00:00"}
    query = {"project_id": "demo", "location": "EU", "job_id": "job_1"}
    of_query = {"job_name": "job", "configuration": {"query": {"query": "select 1", "useLegacySql": False}}}
    run = {"workflow_id": "w", "started_by": STARTER}
    services = [
        Service(
            "powerbi",
            {"powerbi_conn_id": "powerbi_default"},
            [{"workspace": "Sales", **item, "body": {"type": "full"}, "enhanced": "dataflow" not in item} for item in items],
            [model, {**model, "enhanced": False}, dataflow],
            [intent, {**intent, "kind": "dataflow", "enhanced": False}],
        ),
        Service(
            "dataform",
            {"gcp_conn_id": "google_cloud_default", "impersonation_chain": None},
            [{**invocation, "source": source, "invocation_config": {}} for source in sources],
            [{"id": "one", "url": "", "name": f"{REPOSITORY}/workflowInvocations/one"}],
            [compiled, scheduled],
        ),
        Service(
            "bigquery",
            {"gcp_conn_id": "google_cloud_default", "impersonation_chain": None},
            [{**of_query, "project_id": "demo", "location": "EU"}],
            [{**query, "id": "demo:EU.job_1", "url": ""}],
            [query],
        ),
        Service(
            "http_jobs",
            {"http_jobs_conn_id": "http_jobs_default"},
            [{"name": "x"}],
            [{"id": "1", "url": ""}],
            [{"key": "0" * 32}],
        ),
        Service(
            "airflow",
            {"airflow_conn_id": "airflow_api"},
            [{**run, "name": "n", "params": {}, "start_task_ids": None, "scope": "workflow", "chain": ["d"]}],
            [{"id": "w/n", "url": "", "workflow_id": "w", "batch_id": "n"}],
            [{**run, "batch_id": "n"}],
        ),
    ]
    return {service.name: service for service in services}


@contextmanager
def world(answers: RandomAnswers, folder: Path) -> Iterator[HttpWire]:
    """Connections to services that answer at random, and nothing that waits."""
    good: dict[str, Good] = {
        "api.powerbi.com": good_answers.power_bi,
        ENTRA: good_answers.entra,
        "bigquery.googleapis.com": good_answers.big_query,
        "jobs.example": good_answers.http_jobs,
        "airflow.example": good_answers.airflow,
    }
    wire = HttpWire(answers, good)
    from tests.examples.http_jobs.conftest import install

    with ExitStack() as stack:
        grpc_wire = stack.enter_context(GrpcWire(answers, good_answers.dataform))
        google = {"project": "demo", "is_anonymous": True, "dataform_endpoint": f"http://127.0.0.1:{grpc_wire.port}"}
        connections = {
            "POWERBI_DEFAULT": {
                "conn_type": "powerbi",
                "login": "app",
                "password": SECRET,
                "extra": {"tenant_id": "contoso.com"},
            },
            "GOOGLE_CLOUD_DEFAULT": {"conn_type": "google_cloud_platform", "extra": google},
            "AIRFLOW_API": {
                "conn_type": "airflow_api",
                "host": "https://airflow.example",
                "login": "app",
                "password": SECRET,
            },
            "HTTP_JOBS_DEFAULT": {"conn_type": "http", "host": "http://jobs.example", "password": SECRET},
        }
        variables = {f"AIRFLOW_CONN_{name}": json.dumps(connection) for name, connection in connections.items()}
        stack.enter_context(mock.patch.dict(os.environ, variables))
        stack.enter_context(mock.patch.object(sys, "path", [str(install(folder / "site")), *sys.path]))
        stack.enter_context(mock.patch.object(tokens, "token_sources", tokens.TokenSources()))
        # Functions and no mocks: these keep every call, and there are millions.
        stack.enter_context(mock.patch.object(supervisor, "task_instance_state", returns("failed")))
        hurried = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
        for module in ("google.api_core.retry.retry_unary", "msal.application"):
            stack.enter_context(mock.patch.object(importlib.import_module(module), "time", hurried))
        for noisy in (
            RemoteJobTrigger,
            *(service_class(name) for name in ("powerbi", "dataform", "bigquery", "http_jobs", "airflow")),
        ):
            stack.enter_context(mock.patch.object(noisy, "log", logging.getLogger("fuzz")))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(quiet())
        stack.enter_context(wire.open())
        # A loop of its own, so that its threads are none that were there before.
        stack.callback(_close_loop)
        yield wire


class Judge(Findings):
    """Tries calls, and keeps what must not come of them."""

    def __init__(self, wire: HttpWire) -> None:
        super().__init__()
        self.wire = wire

    def tries(self, name: str, call: Callable[[], Any]) -> None:
        """Make a call, and look at what comes back and what was asked for."""
        self.wire.requests.clear()
        try:
            result = call()
        except AcceleratorError as error:
            self.counts[f"{name}: {type(error).__name__}"] += 1
            self._look_at_text(name, str(error))
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = "" if where is None else f" at {where.tb_frame.f_code.co_filename}:{where.tb_lineno}"
            self.wrong(name, f"{type(error).__name__}: {str(error)[:200]}{place}")
        else:
            self.counts[f"{name}: answer"] += 1
            self._look_at_result(name, result)
        for host, method, path in self.wire.requests:
            if host not in ALLOWED or not ALLOWED[host].fullmatch(f"{method} {path}"):
                self.wrong(name, f"asked for {method} {path} of {host}")

    def _look_at_text(self, name: str, text: str) -> None:
        if (
            len(text) > LONGEST_ERROR
            or any(mark in text for mark in ("\n", "\x00", "\x1b", SECRET))
            or next(unstorable(text, max_depth=1), None)
        ):
            self.wrong(name, f"error {text[:300]!r}")

    def _look_at_result(self, name: str, result: Any) -> None:
        if isinstance(result, JobStatus):
            self._look_at_text(name, result.error)
            self._look_at_text(name, result.detail)
            if result.incomplete is not None:
                self._look_at_text(name, str(result.incomplete))
            result = result.result
        if flaw := next(unstorable(result, max_depth=12), None):
            self.wrong(name, f"result that cannot be stored: {flaw}"[:300])


def _calls(service: RemoteService[Any], of: Service, random: Random) -> dict[str, Callable[[], Any]]:
    def start() -> Any:
        return service.start(random.choice(of.requests), random.choice(of.intents))

    def first_row() -> Any:
        row = service.first_row(random.choice(of.jobs))  # type: ignore[attr-defined]
        return row and {str(column): str(value) for column, value in row.items()}

    own = {"first row": first_row} if hasattr(service, "first_row") else {}
    return {
        **own,
        "prepare": lambda: service.prepare(random.choice(of.requests)),
        "start": start,
        "find": lambda: service.find(random.choice(of.intents)),
        "status": lambda: service.status(random.choice(of.jobs)),
        "cancel": lambda: service.cancel(random.choice(of.jobs)),
        "afind": lambda: _loop().run_until_complete(service.afind(random.choice(of.intents))),
        "astatus": lambda: _loop().run_until_complete(service.astatus(random.choice(of.jobs))),
        "acancel": lambda: _loop().run_until_complete(service.acancel(random.choice(of.jobs))),
        "trigger": lambda: _loop().run_until_complete(_trigger(of, random)),
        "trigger on kill": lambda: _loop().run_until_complete(_kill(of, random)),
    }


_loops: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of all asynchronous calls, as a triggerer has one."""
    if not _loops:
        _loops.append(asyncio.new_event_loop())
    return _loops[0]


def _make_trigger(of: Service, random: Random) -> RemoteJobTrigger:
    budget = BUDGET.until(1.0).to_json()
    job = random.choice(of.jobs)
    return RemoteJobTrigger(
        service=of.name, connection=of.connection, job=job, poll_interval=0.0, cancel_on_kill=True, budget=budget
    )


def _close_loop() -> None:
    for loop in _loops:
        loop.run_until_complete(asyncio.wait_for(loop.shutdown_default_executor(), 10.0))
        loop.close()
    _loops.clear()


async def _trigger(of: Service, random: Random) -> Any:
    async for event in _make_trigger(of, random).run():
        return event.payload
    raise AssertionError("a trigger ended without an event")


async def _kill(of: Service, random: Random) -> None:
    trigger = _make_trigger(of, random)
    trigger.task_instance = TASK
    await trigger.cancel_if_task_ended()


def _tokens(judge: Judge, answers: int) -> None:
    """Ask Entra ID, by a client without a memory."""
    settings = importlib.import_module("provider.hooks.powerbi.hook").PowerBIHook().settings
    for _ in range(answers):
        judge.tries("entra issue", lambda: credentials.Issuer(settings).issue(5.0) and None)
        judge.tries("entra token", lambda: _loop().run_until_complete(tokens.TokenSource(settings).token(5.0)))


def run(answers: int, seed: int, folder: Path, name: str) -> Outcome:
    """
    Try every call of a service with so many random answers, in an order that goes round.

    :param name: of the service, or "entra".
    """
    random = Random(seed)
    spoiler = RandomAnswers(Random(seed + 1))
    with world(spoiler, folder) as wire:
        judge = Judge(wire)
        if name == "entra":
            _tokens(judge, answers)
        else:
            wire.peaceful.add(ENTRA)
            of = _services()[name]
            calls = _calls(open_service(of.name, of.connection, BUDGET), of, random)
            for _ in range(answers):
                for asked, call in calls.items():
                    judge.tries(f"{name} {asked}", call)
        for services in shared_services._opened.values():
            services.clear()
    return judge.outcome(seed)
