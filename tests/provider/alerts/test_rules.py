"""What a row of alert_rules may say."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from provider.alerts import rule_rows
from provider.alerts.rules import read_rules
from provider.metadata.engine import read_session, write_session
from tests.provider.alerts.alert_world import add_rule

RULE: dict[str, Any] = {"rule_id": "r", "events": "failure", "notifier": "mail"}


def problems(**values: Any) -> dict[str, str]:
    return dict(read_rules([{**RULE, **values}], ["mail", "topic"]).problems)


def test_a_row_is_read_with_its_defaults() -> None:
    (rule,) = read_rules([{**RULE, "events": "failure, blocked", "days": None, "group_seconds": None}], ["mail"]).rules

    assert rule.events == ("failure", "blocked")
    assert (rule.group_seconds, rule.factor, rule.enabled, rule.days, rule.task_id) == (30, 2.0, True, None, None)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"events": "failed"}, "column events: Input should be 'failure'"),
        ({"events": ""}, "column events"),
        ({"events": "late", "workflow_id": "w"}, "late needs workflow_id and at_time"),
        ({"events": "not_started", "at_time": "06:00"}, "not_started needs workflow_id and at_time"),
        (
            {"events": "late", "workflow_id": "w", "at_time": "06:00", "task_id": "*"},
            "late is about batches; leave task_id empty",
        ),
        ({"events": "late", "workflow_id": "w", "at_time": "00:00"}, "from_time and at_time are the same"),
        ({"at_time": "25:00"}, "column at_time: '25:00' is not a time of day; write HH:MM"),
        ({"at_time": 630}, "column at_time: 630 is not a time of day; write HH:MM, in quotes where it is YAML"),
        ({"quiet_hours": [79200, 21600]}, "column quiet_hours: [79200, 21600] is not a part of a day"),
        ({"workflow_id": "w" * 251}, "column workflow_id: String should have at most 250 characters"),
        ({"task_id": "a\x00b"}, "column task_id"),
        ({"config": {"since": date(2026, 3, 16)}}, "column config: holds what JSON cannot, such as a date or NaN"),
        ({"config": {"limit": float("nan")}}, "column config: holds what JSON cannot"),
        ({"quiet_hours": "22:00"}, "column quiet_hours: '22:00' is not a part of a day; write HH:MM-HH:MM"),
        ({"days": "mon,someday"}, "column days"),
        ({"timezone": "Europe/Atlantis"}, "is not a time zone; write a name such as Europe/Berlin"),
        ({"timezone": "../../etc/passwd"}, "is not a time zone"),
        ({"factor": 0.5}, "column factor: Input should be greater than 1"),
        ({"factor": float("nan")}, "column factor"),
        ({"group_seconds": -1}, "column group_seconds"),
        ({"group_seconds": 2**70}, "column group_seconds"),
        ({"config": "no map"}, "column config: Input should be a valid dictionary"),
        ({"config": {"to": "x" * 20_000}}, "column config: has more than 10000 characters; shorten it"),
        (
            {"notifier": "slack"},
            "the notifier 'slack' is not in [accelerator] notifiers (mail, topic) of the process that says this; add it there, "
            "and start Airflow again",
        ),
        ({"notifier": "os.system"}, "the notifier 'os.system' is not in "),
        ({"notifier": "a b"}, "column notifier"),
        ({"rule_id": "with space"}, "column rule_id"),
        ({"unknown": 1}, "column unknown: Extra inputs are not permitted"),
    ],
)
def test_a_row_that_says_something_else_is_told_of(values: dict[str, Any], said: str) -> None:
    assert said in problems(**values)[str(values.get("rule_id", "r"))]


def test_an_empty_text_is_as_good_as_none() -> None:
    """As a row has it that was filled from a file of comma separated values."""
    empty = dict.fromkeys(("workflow_id", "task_id", "at_time", "days", "timezone", "quiet_hours"), "")
    (rule,) = read_rules([{**RULE, **empty}], ["mail"]).rules

    assert (rule.workflow_id, rule.task_id, rule.days, rule.quiet_hours) == (None, None, None, None)
    assert rule.covers("any", "failure")


def test_problems_quote_no_config() -> None:
    assert "s3cret" not in str(problems(config={"to": "s3cret"}, events="x"))


def test_a_notifier_is_allowed_by_a_pattern_of_its_class_path() -> None:
    row = {**RULE, "notifier": "airflow.providers.pagerduty.notifications.pagerduty.PagerdutyNotifier"}

    assert read_rules([row], ["airflow.providers.*.notifications.*"]).rules
    assert not read_rules([row], ["airflow.providers.smtp.*"]).rules


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("config", "{no json"),
        ("config", "x" * 1_000_000),
        ("config", "[" * 5000),
        ("enabled", "perhaps"),
        ("group_seconds", "soon"),
        ("events", "failure," * 100_000),
        ("factor", "fast"),
        ("created_at", "yesterday"),
        ("workflow_id", b"\xff"),
    ],
)
def test_whatever_sql_writes_into_one_row_hides_no_other(column: str, value: Any) -> None:
    with write_session() as session:
        for name in ("bad", "good"):
            session.execute(
                text("INSERT INTO alert_rules (rule_id, events, notifier) VALUES (:id, 'failure', 'mail')"), {"id": name}
            )
        session.execute(text("PRAGMA ignore_check_constraints = ON"))
        session.execute(text(f"UPDATE alert_rules SET {column} = :value WHERE rule_id = 'bad'"), {"value": value})

    with read_session() as session:
        in_force = rule_rows.rules_in_force(session, ["mail"])
        problems_found = rule_rows.stored_rules(session, ["mail"]).problems

    assert "good" in {one.rule.rule_id for one in in_force}
    assert ("bad" in problems_found) == (column not in ("created_at", "workflow_id"))


@pytest.mark.usefixtures("application_database")
def test_more_rules_than_are_looked_at_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_rows, "MOST_RULES", 2)
    for name in ("r1", "r2", "r3"):
        add_rule(name)
    with read_session() as session:
        read = rule_rows.stored_rules(session, ["mail"])
        in_force = rule_rows.rules_in_force(session, ["mail"])

    assert [rule.rule_id for rule in read.rules] == [one.rule.rule_id for one in in_force] == ["r1", "r2"]
    assert read.problems == {"r3": "there are more than 2 rules; this one and all after it are not looked at. Delete some."}
