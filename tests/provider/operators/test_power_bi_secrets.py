"""
No secret, token or assertion in anything that people can read: canaries are planted, and looked for everywhere.

Airflow's masking of secrets is switched off: what it hides must not be there in the first place.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import SecretsMasker
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from provider.emulators import entra
from provider.emulators.powerbi import PowerBIApi
from provider.exceptions import AcceleratorError
from provider.hooks.powerbi import tokens
from provider.hooks.powerbi.hook import PowerBIHook
from provider.listeners import task_log, task_process
from tests import identities
from tests.canaries import Canaries, Leak
from tests.provider.operators.powerbi_world import (
    AUTH_METHODS,
    LONG,
    change_connection,
    disturb,
    enhanced,
    logged_in_by,
    powerbi,
    workspace,
)

pytestmark = pytest.mark.slow  # real lives of tasks, with their waits

CHATTY = ("", "airflow", "httpx", "httpcore", "msal", "urllib3", "requests", "google", "google.auth", "asyncio")
#: Names of the API's answers that are replaced by an echo of the request, token and all.
ECHOES: dict[str, tuple[str, int]] = {
    "401": ("post_refresh", 401),
    "403": ("post_refresh", 403),
    "500": ("post_refresh", 500),
    "502 page": ("groups", 502),
    "200 page": ("groups", 200),
}


class Records(logging.Handler):
    """Keeps all that a handler could write of a record."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {logging.Formatter().format(record)} {record.args!r} {vars(record)!r}")


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    handler = Records()
    for name in CHATTY:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
    logging.Logger.manager._clear_cache()  # type: ignore[attr-defined]
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    logging.Logger.manager._clear_cache()  # type: ignore[attr-defined]


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> Canaries:
    """Canaries that catch each assertion that Entra ID is shown."""
    planted = Canaries()
    check = entra._check_assertion

    def watched(form: dict[str, str]) -> None:
        planted.plant_jwt(f"assertion {len(planted.secrets)}", form["client_assertion"])
        check(form)

    monkeypatch.setattr(entra, "_check_assertion", watched)
    monkeypatch.setattr(tokens, "token_sources", tokens.TokenSources())
    monkeypatch.setattr(task_process, "recorder", task_process.TryRecorder(budget=30))
    monkeypatch.setattr(SecretsMasker, "add_mask", lambda *_, **__: None)
    monkeypatch.setattr(SecretsMasker, "redact", lambda _self, item, *_, **__: item)
    plain_pem = identities.plain_pem
    private_key = identities.private_key

    def planted_key() -> Any:
        key = private_key()
        planted.plant_key(f"private key {len(planted.secrets)}", plain_pem(key))
        return key

    monkeypatch.setattr(identities, "private_key", planted_key)
    return planted


async def echo(request: Request, status: int) -> Response:
    """Answer as proxies do: with the request, headers and all."""
    sent = {"headers": dict(request.headers), "body": (await request.body()).decode()}
    if status in (200, 502):
        return HTMLResponse(f"<html>{json.dumps(sent)}</html>", status_code=status)
    return JSONResponse({"error": {"code": "Refused", "message": json.dumps(sent)}}, status_code=status)


def replace_answer(monkeypatch: pytest.MonkeyPatch, name: str, status: int) -> None:
    async def answer(self: PowerBIApi, request: Request) -> Response:
        return await echo(request, status)

    monkeypatch.setattr(PowerBIApi, name, answer)


class Seen:
    """All that people could see of one task."""

    def __init__(self, canaries: Canaries, cloud: Any, task: Any) -> None:
        self.canaries = canaries
        self.cloud = cloud
        self.task = task
        self.leaks: list[Leak] = []
        self.errors: list[BaseException] = []

    def run(self) -> None:
        """Run one try, and look at everything between its steps."""
        try:
            outcome = self.task.begin()
            while isinstance(outcome, TaskDeferred):
                self._look_at_deferral(outcome)
                outcome = self.task.resume(outcome, self.task.event(outcome))
            self._look("result", outcome)
            self._record(None)
        except (AcceleratorError, AirflowException) as error:
            self.errors.append(error)
            self._record(error)
        self._look_at_task()

    def _look(self, where: str, value: Any) -> None:
        # Tokens are issued meanwhile.
        for number, token in enumerate(list(self.cloud.tokens._expiry)):
            self.canaries.plant(f"access token {number}", token)
        self.leaks += self.canaries.in_object(value, where)

    def _look_at_deferral(self, deferral: TaskDeferred) -> None:
        trigger = self.task.trigger(deferral)
        self._look("deferral", [deferral, deferral.kwargs, deferral.trigger, vars(deferral.trigger)])
        self._look("trigger", [trigger, trigger.serialize(), vars(trigger), trigger.budget])

    def _look_at_task(self) -> None:
        operator = self.task.operator
        self._look("operator", [operator, vars(operator)])
        self._look("template fields", {name: getattr(operator, name) for name in operator.template_fields})
        self._look("task state and XCom", [self.task.store.stored, self.task.ti.xcoms])
        hook = PowerBIHook()
        self._look("hook", [hook, hook.settings, vars(hook)])
        for source in tokens.token_sources:
            self._look("token source", [source, source._kept, source._issuer, source._issuer._client])
        ok, text = hook.test_connection()
        self._look("Test of the connection", [ok, text])
        for error in self.errors:
            self.leaks += self.canaries.in_exception(error, "error")

    def _record(self, error: BaseException | None) -> None:
        """Let the listener write the task's row."""
        kind = type("RuntimeTaskInstance", (SimpleNamespace,), {"__module__": "airflow.sdk.execution_time.task_runner"})
        operator, ti = self.task.operator, self.task.ti
        fields = {name: getattr(operator, name) for name in operator.template_fields}
        dag = SimpleNamespace(task_dict={"start_batch": SimpleNamespace(task_type="StartBatchOperator")})
        fields |= {"execute": operator.execute, "resume_execution": operator.resume_execution}
        task = SimpleNamespace(dag=dag, template_fields=operator.template_fields, remote_job=operator.remote_job, **fields)
        now = datetime.now(tz=UTC)
        seen = kind(**{**vars(ti), "task": task, "start_date": now, "end_date": now, "state": None})
        task_log.on_task_instance_running(task_instance=seen)
        if error is None:
            task_log.on_task_instance_success(task_instance=seen)
        else:
            task_log.on_task_instance_failed(task_instance=seen, error=error)


@pytest.mark.parametrize("trouble", ["none", "login refused", "wrong credential", *ECHOES])
@pytest.mark.parametrize("auth", AUTH_METHODS)
def test_no_secret_is_to_be_seen(
    start_cloud, life, tmp_path, monkeypatch, embedded_database, canaries, records, capfd, auth, trouble
):
    secret = canaries.plant("client secret", 'c4nary-client-secret/"&+ä')
    passphrase = canaries.plant("passphrase", "c4nary 9f2b71 pass 5d0e83 phrase 66ab12")
    wrong = canaries.plant("wrong secret", "c4nary 0b47de wrong 91c3fa secret 2e88d5")
    if trouble in ECHOES:
        replace_answer(monkeypatch, *ECHOES[trouble])
    cloud = start_cloud(**powerbi(workspace(seconds=LONG), clients=[{"client_secret": secret}]))
    task = life(lambda: enhanced(wait_timeout=3.0 if "page" in trouble else None))
    seen = Seen(canaries, cloud, task)

    with logged_in_by(auth, cloud, tmp_path, monkeypatch, passphrase) as server:
        if trouble == "login refused":
            used = {"client_secret": secret, "pem": passphrase, "pfx": passphrase}.get(auth, "")
            refusal = {"error": "invalid_client", "error_description": f"AADSTS7000215: {used} is no secret."}
            disturb(cloud, "POST *", service="entra", http_status=401, body=refusal, times=None)
            server.refusal = (400, json.dumps({"error": "unauthorized_client", "error_description": "no identity"}))
        elif trouble == "wrong credential":
            server.refusal = (400, json.dumps({"error": "invalid_grant", "error_description": "no such account"}))
            change_connection(monkeypatch, password=wrong)
        seen.run()
        for number, token in enumerate(server.identity_tokens):
            canaries.plant_jwt(f"identity token {number}", token)

    assert bool(seen.errors) == (trouble not in ("none",)), seen.errors
    out, err = capfd.readouterr()
    leaks = [
        *seen.leaks,
        *(leak for error in seen.errors for leak in canaries.in_exception(error, "error")),
        *(leak for line in records.lines for leak in canaries.in_text(line, f"log: {line[:60]}")),
        *canaries.in_text(out, "standard output"),
        *canaries.in_text(err, "standard error"),
        *canaries.in_database(embedded_database),
    ]
    assert sorted(set(leaks)) == []
    # Those who could tell the most were asked to: a certificate that cannot be opened ends before any request.
    loggers = {line.partition(":")[0].partition(".")[0] for line in records.lines}
    assert "airflow" in loggers
    assert trouble != "none" or {"httpx", "httpcore", "urllib3", "msal"} <= loggers


def test_the_scan_sees_what_is_planted(start_cloud, life, tmp_path, monkeypatch, embedded_database, canaries, records):
    """Otherwise the test above would pass for nothing: the places that it looks at hold what they are believed to hold."""
    cloud = start_cloud(**powerbi(workspace(name="Sales of c4nary")))
    canaries.plant("name", "Sales of c4nary")
    seen = Seen(canaries, cloud, life(lambda: enhanced(semantic_model="Sales of c4nary")))
    disturb(cloud, "POST */refreshes", http_status=403, body={"error": {"code": "Sales of c4nary"}})

    seen.run()

    assert {leak.where.partition(":")[0] for leak in seen.leaks} >= {"operator", "template fields", "error"}
    assert {leak.where for leak in canaries.in_database(embedded_database)} == {"task_logs.config", "task_logs.error_message"}
    assert len([token for token in canaries.secrets if token.startswith("access token")]) >= 1
