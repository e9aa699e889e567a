"""The DAG ``accelerator_maintenance``: its file as Airflow parses it, its form, and each action, with the log that it leaves."""

from __future__ import annotations

import contextlib
import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from sqlalchemy import text, update

from provider import messages
from provider.cli import maintenance
from provider.doctor import everything
from provider.doctor.database import token_check
from provider.doctor.examination import Check, State, Verdict, ok
from provider.metadata import inbox
from provider.metadata.engine import dispose_engines, write_session
from provider.metadata.schema import HEAD
from provider.metadata.tables import BatchRequest
from provider.reconciler.once import Disagreement

DAGS = Path(__file__).parents[3] / "dags"
WORKFLOW = """
workflows:
  - workflow_id: sales
    tasks:
      - task_id: wait
        task_type: external
"""
SUBSCRIPTION = "projects/p/subscriptions/sub"


def _same(verdict: Verdict) -> Verdict:
    return verdict


@pytest.fixture(scope="module")
def dag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=DAGS / "maintenance.py")
    assert bag.import_errors == {}
    return bag.dags["accelerator_maintenance"]


@pytest.fixture
def act(dag: Any, capsys: pytest.CaptureFixture[str]):
    """Do what a run with this conf does: check the params, then the tasks one after the other; return the log."""

    def run(run_id: str = "manual__1", **conf: Any) -> str:
        capsys.readouterr()
        form = copy.deepcopy(dag.params)
        form.update(conf)
        params = form.validate()
        try:
            dag.task_dict["leave_token"].python_callable(params=params, run_id=run_id)
        except AirflowSkipException:
            assert params["action"] != "doctor"
        dag.task_dict["carry_out"].python_callable(params=params, run_id=run_id)
        return capsys.readouterr().out

    return run


def test_the_dag(dag: Any) -> None:
    assert (dag.schedule, dag.is_paused_upon_creation, dag.max_active_runs) == (None, False, 1)
    first, second = dag.task_dict["leave_token"], dag.task_dict["carry_out"]
    assert first.downstream_task_ids == {"carry_out"}
    # A doctor is needed where the token could not be stored, and comes after a skipped task too.
    assert (second.trigger_rule, first.retries, second.retries) == ("all_done", 0, 2)
    assert dag.params.dump()["action"] == "db upgrade"
    dag.params.validate()


@pytest.mark.parametrize(
    "conf",
    [
        {"action": "db drop"},
        {"action": "import; rm -rf /"},
        {"file": 1},
        {"file": "a\nb"},
        {"text": ["x"]},
        {"prune": "yes"},
        {"request_ids": ["1"]},
        {"request_ids": [0]},
        {"before": "yesterday"},
    ],
    ids=str,
)
def test_a_param_that_does_not_fit_is_refused(act, conf: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        act(**conf)


def test_db_upgrade_is_what_is_done_where_nothing_is_said(act, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", postgres_url)
    with write_session() as session:
        session.execute(text("DROP SCHEMA public CASCADE"))
        session.execute(text("CREATE SCHEMA public"))
    dispose_engines()
    assert act() == f"Upgraded the application database from schema none to {HEAD}.\n"
    assert act() == f"The application database already has schema {HEAD}.\n"


def test_a_failed_upgrade_may_be_tried_again(act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://bob:s3cr-et@127.0.0.1:1/shop")
    with pytest.raises(AirflowException, match="accelerator db upgrade ended with exit code 1") as raised:
        act()
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.usefixtures("application_database")
class TestDefinitions:
    def test_import_of_a_text(self, act) -> None:
        assert "Workflows: 1 created" in act(action="import", text=WORKFLOW)
        assert "Workflows: 0 created, 0 changed, 1 unchanged" in act(action="import", text=WORKFLOW)

    def test_import_of_a_file(self, act, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("--help.yaml").write_text(WORKFLOW)  # a name is no option
        assert "Nothing was stored (dry run)." in act(action="import", file="--help.yaml", dry_run=True)
        assert "1 created" in act(action="import", file="--help.yaml")

    def test_prune(self, act) -> None:
        act(action="import", text=WORKFLOW)
        assert "1 created, 0 changed, 0 unchanged, 1 removed" in act(
            action="import", text=WORKFLOW.replace("sales", "stock").replace("wait", "w"), prune=True
        )

    def test_a_text_is_data(self, act, tmp_path: Path) -> None:
        trace = tmp_path / "trace"
        with pytest.raises(AirflowFailException, match="exit code 1"):
            act(action="import", text=f"!!python/object/apply:os.system ['touch {trace}']")
        with pytest.raises(AirflowFailException, match="exit code 1"):
            act(action="validate", file=f"$(touch {trace}).yaml")
        assert not trace.exists()

    def test_other_files_of_a_worker_are_nobodys(self, act, tmp_path: Path) -> None:
        (tmp_path / "airflow.cfg").write_text("[core]\nfernet_key = hunter2\n")
        with pytest.raises(AirflowFailException, match="is no file of workflows") as raised:
            act(action="validate", file=str(tmp_path / "airflow.cfg"))
        assert "hunter2" not in str(raised.value)

    def test_downgrade(self, act) -> None:
        act(action="import", text=WORKFLOW)
        with pytest.raises(AirflowFailException, match="needs `to`"):
            act(action="db downgrade")
        with pytest.raises(AirflowFailException, match="exit code 1"):
            act(action="db downgrade", to="0002")
        assert "Lost with schema" in act(action="db downgrade", to="0002", yes=True)

    def test_problems_fail_the_task(self, act) -> None:
        with pytest.raises(AirflowFailException, match="accelerator import ended with exit code 1; the lines above say why"):
            act(action="import", text=WORKFLOW.replace("external", "externl"))

    def test_validate(self, act) -> None:
        act(action="import", text=WORKFLOW)
        assert act(action="validate") == "1 workflow, 1 task: no problems.\n"
        assert act(action="validate", text=WORKFLOW) == "1 workflow, 1 task: no problems.\n"
        with pytest.raises(AirflowFailException):
            act(action="validate", text=WORKFLOW.replace("external", "externl"))

    @pytest.mark.parametrize(
        ("conf", "says"),
        [
            ({"action": "import"}, "The action import needs `file` or `text`"),
            ({"action": "alerts load"}, "The action alerts load needs `file` or `text`"),
            ({"action": "import", "file": "a.yaml", "text": WORKFLOW}, "Both `file` and `text`"),
            ({"action": "import", "file": "gs://bucket"}, "names no object"),
            ({"action": "db clean"}, "needs `before`"),
        ],
    )
    def test_what_is_missing_is_named(self, act, conf: dict[str, Any], says: str) -> None:
        with pytest.raises(AirflowFailException, match=says):
            act(**conf)


@pytest.mark.usefixtures("application_database")
class TestRest:
    def test_requests_retry(self, act) -> None:
        with write_session() as session:
            for number in ("1", "2"):
                message = messages.read(f'{{"task_id": "a", "batch_id": "b{number}"}}'.encode(), {}, number, None)
                inbox.receive(session, SUBSCRIPTION, [message])
            session.execute(update(BatchRequest).values(state="received", workflow_id="sales"))
        log = act(action="requests retry", request_ids=[1, 2])
        assert [line.partition(":")[0] for line in log.splitlines()] == ["1", "2"]
        with pytest.raises(AirflowFailException):
            act(action="requests retry", request_ids=[99])
        with pytest.raises(AirflowFailException):
            act(action="requests retry")

    def test_db_clean(self, act) -> None:
        said = "0 batches that ended before 2020-01-31, with 0 task logs, and 0 alerts.\n"
        assert act(action="db clean", before="2020-01-31", dry_run=True) == f"Would delete {said}"
        assert act(action="db clean", before="2020-01-31") == f"Deleted {said}"

    def test_reconcile_check_is_the_command(self, act, monkeypatch: pytest.MonkeyPatch) -> None:
        from provider.cli import reconcile_commands

        found: list[Any] = []
        monkeypatch.setattr(reconcile_commands, "choose_source", lambda _reader: (None, "a test"))
        monkeypatch.setattr(reconcile_commands, "disagreements", lambda _source, _since: found)
        assert "No differences" in act(action="reconcile --check")
        found.append(Disagreement("sales", "b1", "wait", -1, 1, "status", "NEW", "SUCCESS"))
        with pytest.raises(AirflowFailException, match="accelerator reconcile --check ended with exit code 1"):
            act(action="reconcile --check")

    def test_the_doctor_looks_for_the_token_of_the_other_task(self, act, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(everything, "all_checks", lambda expected: [token_check(expected)])
        assert "that is this process" in act(action="doctor")

    def test_an_error_of_the_doctor_fails_the_task(self, act, monkeypatch: pytest.MonkeyPatch) -> None:
        verdicts = [ok("fine"), Verdict(State.ERROR, "broken", "Mend it.")]
        checks = [Check("it", partial(_same, verdict), "-") for verdict in verdicts]
        monkeypatch.setattr(everything, "all_checks", lambda _expected: checks)
        with pytest.raises(AirflowFailException, match="accelerator doctor ended with exit code 1"):
            act(action="doctor")


def test_a_token_that_cannot_be_left_fails_its_task_alone(dag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://bob:s3cr-et@127.0.0.1:1/shop")
    params = {**dag.params.dump(), "action": "doctor"}
    with pytest.raises(AirflowFailException, match="The token was not stored"):
        maintenance.leave_token(params, "manual__1")


def test_wrong_usage_fails_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """argparse ends the process; a task whose process ends by itself would be tried again."""
    monkeypatch.setitem(maintenance.ACTIONS, "validate", lambda *_: contextlib.nullcontext(["no such command"]))
    with pytest.raises(AirflowFailException, match="exit code 2"):
        maintenance.carry_out({"action": "validate"}, "manual__1")
