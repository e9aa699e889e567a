"""Rules and alerts on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from provider.alerts import rule_rows
from provider.metadata.engine import read_session
from tests.provider.alerts.alert_world import add_alert, add_rule, alerts
from tests.provider.cli.conftest import Accelerator

pytestmark = pytest.mark.usefixtures("application_database")

MAIL: dict[str, Any] = {"rule_id": "team", "events": ["failure"], "notifier": "mail", "config": {"to": "team@example.org"}}
Rules = Callable[..., Path]


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__NOTIFIERS", "mail, topic")


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    def write(*given: Any) -> Path:
        file = tmp_path / "rules.yaml"
        file.write_text(yaml.safe_dump({"alert_rules": list(given)}))
        return file

    return write


def stored() -> dict[str, Any]:
    with read_session() as session:
        return {rule.rule_id: rule for rule in rule_rows.stored_rules(session, ["*"]).rules}


class TestLoad:
    def test_rules_are_stored_as_they_are_read(self, accelerator: Accelerator, rules: Rules) -> None:
        late = {
            **{"rule_id": "late", "workflow_id": "w", "events": ["late"], "notifier": "topic", "config": {"topic": "t"}},
            **{"at_time": "06:30", "from_time": "20:00", "days": ["mon", "fri"], "timezone": "Europe/Berlin"},
            **{"quiet_hours": "22:00-06:00", "group_seconds": 0, "enabled": False, "factor": 3.0},
        }
        ran = accelerator("alerts", "load", rules(MAIL, late))

        assert (ran.code, ran.out, ran.err) == (0, "Stored 2 rules.\n", "")
        found = stored()
        assert found["late"].model_dump(mode="json", exclude={"quiet_hours", "from_time", "at_time", "task_id"}) == {
            name: value for name, value in late.items() if name not in ("quiet_hours", "from_time", "at_time")
        }
        assert [f"{clock:%H:%M}" for clock in (*found["late"].quiet_hours, found["late"].from_time)] == [
            "22:00",
            "06:00",
            "20:00",
        ]

    def test_the_module_of_a_notifier_that_is_not_allowed_is_not_run(
        self, accelerator: Accelerator, rules: Rules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "evil_canary.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        accelerator("alerts", "load", rules({**MAIL, "notifier": "evil_canary.Notifier"}))

        assert not (tmp_path / "ran").exists()

    def test_a_rule_of_the_same_id_is_replaced_and_others_stay_unless_they_are_pruned(
        self, accelerator: Accelerator, rules: Rules
    ) -> None:
        add_rule("other")
        accelerator("alerts", "load", rules(MAIL))
        accelerator("alerts", "load", rules({**MAIL, "events": ["success"]}))
        assert {name: rule.events for name, rule in stored().items()} == {"other": ("failure",), "team": ("success",)}

        accelerator("alerts", "load", "--prune", rules(MAIL))
        assert set(stored()) == {"team"}

    @pytest.mark.parametrize(
        ("rule", "said"),
        [
            ({**MAIL, "events": ["failed"]}, "rule 'team': column events: Input should be"),
            ({**MAIL, "config": {"to": "a", "files": ["/etc/passwd"]}}, "rule team: mail does not take 'files' in config"),
            ({**MAIL, "event": "failure"}, "column event: Extra inputs are not permitted"),
        ],
    )
    def test_one_mistake_keeps_all_from_being_stored(
        self, accelerator: Accelerator, rules: Rules, rule: dict[str, Any], said: str
    ) -> None:
        ran = accelerator("alerts", "load", rules({**MAIL, "rule_id": "good"}, rule))

        assert ran.code == 1
        assert said in ran.err
        assert stored() == {}

    def test_a_dry_run_stores_nothing(self, accelerator: Accelerator, rules: Rules) -> None:
        assert (
            accelerator("alerts", "load", "--dry-run", rules(MAIL)).out == "No mistake in 1 rule. Nothing was stored (dry run).\n"
        )
        assert stored() == {}

    def test_a_notifier_that_is_not_allowed_here_is_stored_and_told(self, accelerator: Accelerator, rules: Rules) -> None:
        own = {**MAIL, "notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier"}
        ran = accelerator("alerts", "load", rules(own))

        assert ran.code == 0
        assert f"warning: rule 'team': the notifier '{own['notifier']}' is not in [accelerator] notifiers (" in ran.err
        assert set(stored()) == {"team"}

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("workflows: []", "is no file of rules; write alert_rules:"),
            ("alert_rules: {a: 1}", "is no file of rules"),
            ("alert_rules: [1]", "is no file of rules"),
            ("alert_rules: [{rule_id: a}, {rule_id: a}]", "rule 'a' is given more than once; keep one."),
            ("alert_rules: [", "rules.yaml, line 2, column 1"),
        ],
    )
    def test_another_file_is_refused(self, accelerator: Accelerator, tmp_path: Path, content: str, said: str) -> None:
        file = tmp_path / "rules.yaml"
        file.write_text(content)
        ran = accelerator("alerts", "load", file)

        assert ran.code == 1
        assert said in ran.err


def test_rules_are_listed_with_what_is_wrong(accelerator: Accelerator) -> None:
    add_rule("good", workflow_id="sales", config={"to": "x"})
    add_rule("bad", events="nonsense")
    ran = accelerator("alerts", "rules")

    assert ran.code == 1
    assert [line.split() for line in ran.out.splitlines()][1] == ["good", "yes", "failure", "sales", "the", "batch", "mail"]
    assert "error: alert_rules, rule_id 'bad': column events" in ran.err
    told = json.loads(accelerator("alerts", "rules", "--output", "json").out)
    assert ([rule["rule_id"] for rule in told["rules"]], set(told["problems"])) == (["good"], {"bad"})


def test_what_looks_like_a_secret_in_a_config_is_not_listed(accelerator: Accelerator) -> None:
    add_rule("good", config={"to": "x", "password": "hunter2-canary"})
    told = accelerator("alerts", "rules", "--output", "json").out

    assert json.loads(told)["rules"][0]["config"] == {"to": "x", "password": "***"}


def test_where_nothing_is_allowed_that_is_said(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__ACCELERATOR__NOTIFIERS")
    assert "no rule is looked at: [accelerator] notifiers allows no notifier" in accelerator("alerts", "rules").err


def test_a_test_goes_the_way_of_all_alerts(accelerator: Accelerator) -> None:
    add_rule("team", config={"to": "a@example.org"})
    ran = accelerator("alerts", "test", "team")

    assert ran.code == 0
    (one,) = alerts()
    assert (one.rule_id, one.event, one.state) == ("team", "test", "waiting")
    assert "there is no rule 'nobody'; rules are team." in accelerator("alerts", "test", "nobody").err


def test_a_rule_that_cannot_be_used_cannot_be_tested(accelerator: Accelerator) -> None:
    add_rule("bad", notifier="slack")
    ran = accelerator("alerts", "test", "bad")
    assert "rule 'bad' cannot be used: the notifier 'slack' is not in [accelerator] notifiers" in ran.err
    assert alerts() == []


def test_alerts_are_listed_and_what_was_given_up_is_sent_once_more(accelerator: Accelerator) -> None:
    about = {"rule_id": "team", "workflow_id": "sales", "batch_id": "B1", "task_id": "load"}
    add_alert("1", state="sent", **about)
    add_alert("2", state="failed", reason="no server", **about)

    listed = [line.split() for line in accelerator("alerts", "list").out.splitlines()]
    assert [cells[1] for cells in listed] == ["state", "failed", "sent"]
    assert listed[1][3:] == ["failure", "team", "sales", "B1", "load", "no", "server"]
    assert [one["event_id"] for one in json.loads(accelerator("alerts", "list", "--state", "sent", "-o", "json").out)] == ["1"]
    assert accelerator("alerts", "retry").out == "1 alert will be sent once more.\n"
    assert accelerator("alerts", "retry").out == "No alert was given up.\n"
    assert accelerator("alerts", "list", "--workflow", "other").out == "No alerts.\n"
