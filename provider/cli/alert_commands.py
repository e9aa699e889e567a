"""``accelerator alerts``: rules, what they have told of, and a test of one."""

from __future__ import annotations

import argparse
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from provider import settings
from provider.airflow_internals.secrets import redact
from provider.alerts import outbox, rule_rows
from provider.alerts.delivery import CHANNELS, build_notifier
from provider.alerts.rules import MOST_RULES, TOPIC, AlertRule, ReadRules, check_allowed, read_rules
from provider.cli.output import say, utc, write_data, write_table
from provider.exceptions import AcceleratorError, ConfigurationError, DefinitionError
from provider.input_files import read_file
from provider.metadata.engine import read_session, write_session
from provider.metadata.states import ALERT_WAITING
from provider.texts import counted, quoted

_OFF = "no rule is looked at: [accelerator] notifiers allows no notifier, such as mail, slack or topic.\n"


def show(args: argparse.Namespace) -> int:
    """List alerts, newest first."""
    with read_session() as session:
        found = outbox.newest(session, state=args.state, workflow_id=args.workflow, limit=args.limit)
    if args.output != "table":
        write_data(found, args.output)
    elif found:
        columns = ("id", "state", "happened", "event", "rule", "workflow", "batch", "task", "reason")
        write_table(columns, [_cells(alert) for alert in found], below=("reason",))
    else:
        sys.stdout.write("No alerts.\n")
    return 0


def rules(args: argparse.Namespace) -> int:
    """List rules; returns 1 where one of them cannot be used."""
    read = _stored()
    if args.output != "table":
        listed = [redact(rule.model_dump(mode="json")) for rule in read.rules]
        write_data({"rules": listed, "problems": dict(read.problems)}, args.output, listed)
    elif read.rules:
        columns = ("rule", "enabled", "events", "workflow", "task", "notifier")
        write_table(columns, [_rule_cells(rule) for rule in read.rules])
    else:
        sys.stdout.write("No rules that can be used.\n")
    for rule_id, problem in read.problems.items():
        sys.stderr.write(f"error: alert_rules, rule_id {quoted(rule_id)}: {problem}\n")
    return 1 if read.problems else 0


def load(args: argparse.Namespace) -> int:
    """
    Store the rules of a file: all of them, or none where one has a problem.

    :raises DefinitionError: the file cannot be read, or holds something else.
    """
    rows = _rows_of(Path(args.file))
    # What a machine may send from is its own affair: whether a notifier is allowed is told, and keeps no rule from being stored.
    checked = read_rules(rows, ["*"])
    for rule_id, problem in checked.problems.items():
        sys.stderr.write(f"error: {args.file}: rule {quoted(rule_id)}: {problem}\n")
    for rule in checked.rules:
        _check_config(rule)
    told = counted(len(checked.rules), "rule")
    if checked.problems or args.dry_run:
        say("Nothing was stored." if checked.problems else f"No mistake in {told}. Nothing was stored (dry run).")
        return 1 if checked.problems else 0
    with write_session() as session:
        rule_rows.store_rules(session, checked.rules, prune=args.prune)
    say(f"Stored {told}.")
    for rule_id, problem in _stored().problems.items():
        sys.stderr.write(f"warning: rule {quoted(rule_id)}: {problem}\n")
    return 0


def test(args: argparse.Namespace) -> int:
    """
    Send a test by a rule, on the way that all its alerts go.

    :raises AcceleratorError: there is no such rule, or it cannot be used.
    """
    read = _stored()
    if args.rule_id in read.problems:
        raise AcceleratorError(f"rule {quoted(args.rule_id)} cannot be used: {read.problems[args.rule_id]}")
    rule = next((rule for rule in read.rules if rule.rule_id == args.rule_id), None)
    if rule is None:
        names = ", ".join(rule.rule_id for rule in read.rules[:10]) or "none"
        raise AcceleratorError(f"there is no rule {quoted(args.rule_id)}; rules are {names}.")
    _check_config(rule)
    now = datetime.now(UTC)
    with write_session() as session:
        outbox.store(session, [_test_alert(rule, now)])
    say(f"A test by the rule {rule.rule_id} is on its way; the DAG accelerator_alerts sends it. `accelerator alerts list` tells.")
    return 0


def retry(_args: argparse.Namespace) -> int:
    """Let alerts that were given up be sent once more."""
    with write_session() as session:
        count = outbox.retry_failed(session)
    say(f"{counted(count, 'alert')} will be sent once more." if count else "No alert was given up.")
    return 0


def _stored() -> ReadRules:
    allowed = settings.get_list("notifiers")
    if not allowed:
        sys.stderr.write(f"warning: {_OFF}")
    with read_session() as session:
        return rule_rows.stored_rules(session, allowed)


def _rows_of(file: Path) -> list[dict[str, Any]]:
    content = read_file(file)
    found = content.get("alert_rules") if isinstance(content, dict) else None
    if not isinstance(found, list) or len(content) > 1 or not all(isinstance(row, dict) for row in found):
        raise DefinitionError(f"{file} is no file of rules; write alert_rules: and a list of maps below it.")
    if len(found) > MOST_RULES:
        raise DefinitionError(f"{file} has more than {MOST_RULES} rules; no more are looked at.")
    names = [row.get("rule_id") for row in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DefinitionError(f"{file}: rule {quoted(twice)} is given more than once; keep one.")
    return found


def _check_config(rule: AlertRule) -> None:
    """Refuse a config that its notifier does not take, where this machine has the notifier."""
    if rule.notifier == TOPIC:
        return
    if rule.notifier not in CHANNELS:
        try:
            check_allowed(rule.notifier, settings.get_list("notifiers"))
        except ConfigurationError:
            return  # to look at a class is to run its module, whatever it does
    try:
        build_notifier(rule.notifier, rule.config)
    except ConfigurationError as error:
        if isinstance(error.__cause__, ImportError):
            sys.stderr.write(f"warning: rule {rule.rule_id}: {error}\n")
            return
        raise AcceleratorError(f"rule {rule.rule_id}: {error} Nothing was done.") from error


def _test_alert(rule: AlertRule, now: datetime) -> dict[str, Any]:
    return {
        "rule_id": rule.rule_id,
        "event_id": uuid.uuid4().hex,
        "event": "test",
        "workflow_id": rule.workflow_id or "any",
        "details": {"note": "Somebody tests the rule. Nothing has happened."},
        "happened_at": now,
        "state": ALERT_WAITING,
        "created_at": now,
        "due_at": now,
    }


def _rule_cells(rule: AlertRule) -> tuple[str, ...]:
    about = rule.workflow_id or "all", rule.task_id or "the batch"
    return (rule.rule_id, "yes" if rule.enabled else "no", ", ".join(rule.events), *about, rule.notifier)


def _cells(alert: dict[str, Any]) -> tuple[str, ...]:
    names = ("event", "rule_id", "workflow_id", "batch_id", "task_id", "reason")
    return (str(alert["id"]), alert["state"], utc(alert["happened_at"]), *(alert[name] or "" for name in names))
