"""Rows of workflows with one mistake each, and the line that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.dag_factory.definitions import Rows


def _set(name: str, value: Any) -> Callable[[Rows], None]:
    return lambda rows: rows.workflow("calendar").__setitem__(name, value)


WORKFLOW = "workflows row calendar: "

BAD_WORKFLOW_ROWS: dict[str, tuple[Callable[[Rows], object], str]] = {
    "unknown column": (
        _set("shedule", "x"),
        WORKFLOW + "shedule: unknown key; did you mean schedule? known keys are: after, catchup, default_args, description, "
        "display_name, doc, enabled, end_date, file_min_size, file_pattern, max_active_batches, max_active_tasks, "
        "max_failed_batches, owner, params, paused_at_first, run_timeout_seconds, schedule, start_date, tags, timezone, "
        "workflow_id",
    ),
    "five fields": (
        _set("schedule", "0 5 * *"),
        WORKFLOW + "schedule: '0 5 * *' is not a schedule; use five cron fields such as '0 5 * * *', or one of @hourly, @daily, "
        "@weekly, @monthly, @quarterly, @yearly",
    ),
    "a day that never comes": (
        _set("schedule", "0 0 31 2 *"),
        WORKFLOW + "schedule: '0 0 31 2 *' is not a schedule (failed to find next date); use five cron fields such as "
        "'0 5 * * *', or one of @hourly, @daily, @weekly, @monthly, @quarterly, @yearly",
    ),
    "drawn by lot": (
        _set("schedule", "R 5 * * *"),
        WORKFLOW + "schedule: 'R 5 * * *' is not a schedule; use five cron fields such as '0 5 * * *', or one of @hourly, "
        "@daily, @weekly, @monthly, @quarterly, @yearly",
    ),
    "time zone": (
        _set("timezone", "Europe/Berln"),
        WORKFLOW + "timezone: 'Europe/Berln' is not a time zone; did you mean Europe/Berlin?",
    ),
    "time zone that is a folder": (
        _set("timezone", "../../etc"),
        WORKFLOW + "timezone: '../../etc' is not a time zone; use a name such as Europe/Berlin or UTC",
    ),
    "start date": (
        _set("start_date", "yesterday"),
        WORKFLOW + "start_date: 'yesterday' is not a date; write it like 2026-01-31 or 2026-01-31T05:00:00",
    ),
    "catchup from nowhere": (
        lambda rows: rows.workflow("calendar").update(catchup=True, start_date=None),
        WORKFLOW + "catchup: needs a start_date to catch up from",
    ),
    "end before the start": (
        lambda rows: rows.workflow("calendar").update(start_date="2026-02-01", end_date="2026-01-31"),
        WORKFLOW + "end_date: is before start_date, so no run is scheduled; correct one of them",
    ),
    "end date": (
        _set("end_date", "never"),
        WORKFLOW + "end_date: 'never' is not a date; write it like 2026-01-31 or 2026-01-31T05:00:00",
    ),
    "batches": (
        _set("max_active_batches", 0),
        WORKFLOW + "max_active_batches: must be greater than or equal to 1, not 0",
    ),
    "default_args": (
        _set("default_args", {"retrys": 1}),
        WORKFLOW + "default_args.retrys: unknown key; did you mean retries? known keys are: depends_on_past, executor, "
        "max_active_tis_per_dag, max_active_tis_per_dagrun, max_retry_delay_seconds, owner, pool, pool_slots, priority, queue, "
        "retries, retry_backoff, retry_delay_seconds, timeout_seconds, weight_rule",
    ),
    "default_args no object": (
        _set("default_args", [1]),
        WORKFLOW + "default_args: must be an object, not a list",
    ),
    "tags no list": (_set("tags", "sales"), WORKFLOW + "tags: must be a list, not 'sales'"),
    "params twice": (
        _set("params", [{"name": "a"}, {"name": "a"}]),
        WORKFLOW + "params: a given more than once; keep one",
    ),
    "params no list": (
        _set("params", {"name": "a"}),
        WORKFLOW + "params: must be a list, not an object",
    ),
    "param type": (
        _set("params", [{"name": "a", "type": "text"}]),
        WORKFLOW + "params[0].type[0]: must be one of 'string', 'integer', 'number', 'boolean', 'array', 'object', 'null', "
        "not 'text'",
    ),
    "param default": (
        _set("params", [{"name": "a", "type": "integer", "default": "1"}]),
        WORKFLOW + "params[0]: default of a does not fit: '1' is not of type 'integer'",
    ),
    "param default not in enum": (
        _set("params", [{"name": "a", "enum": ["x"], "default": "y"}]),
        WORKFLOW + "params[0]: default of a does not fit: 'y' is not one of ['x']",
    ),
    "param of ours": (
        _set("params", [{"name": "scope"}]),
        WORKFLOW + "params[0].name: scope is a param of every workflow already; rename it",
    ),
    "param that templates cannot read": (
        _set("params", [{"name": "items"}]),
        WORKFLOW + "params[0].name: params.items has another meaning in a template; rename it",
    ),
    "required param of a schedule": (
        _set("params", [{"name": "a", "required": True}]),
        WORKFLOW + "params: a must have a default, since a schedule starts runs without values",
    ),
    "param bound that is no number": (
        _set("params", [{"name": "a", "type": "number", "default": 1, "minimum": "nan"}]),
        WORKFLOW + "params[0].minimum: must be a number, not 'nan'",
    ),
    "param bounds without a value between": (
        _set("params", [{"name": "a", "type": "number", "minimum": 3, "maximum": 1}]),
        WORKFLOW + "params[0]: minimum of a is greater than maximum, so no value fits; correct one of them",
    ),
    "param format": (
        _set("params", [{"name": "a", "format": "dat"}]),
        WORKFLOW + "params[0].format: 'dat' is not a format; did you mean date? formats are: date, date-time, duration, email, "
        "hostname, idn-email, idn-hostname, ipv4, ipv6, iri, iri-reference, json-pointer, multiline, regex, "
        "relative-json-pointer, time, uri, uri-reference, uri-template, uuid",
    ),
    "time zone with leap seconds": (
        _set("timezone", "right/Europe/Berlin"),
        WORKFLOW + "timezone: 'right/Europe/Berlin' is not a time zone; did you mean Europe/Berlin?",
    ),
    "time zone of a machine": (
        _set("timezone", "localtime"),
        WORKFLOW + "timezone: 'localtime' is not a time zone; use a name such as Europe/Berlin or UTC",
    ),
    "time zone of nobody": (
        _set("timezone", "Factory"),
        WORKFLOW + "timezone: 'Factory' is not a time zone; use a name such as Europe/Berlin or UTC",
    ),
    "time zone with rules alone": (
        _set("timezone", "posixrules"),
        WORKFLOW + "timezone: 'posixrules' is not a time zone; use a name such as Europe/Berlin or UTC",
    ),
    "start date of the year 1": (
        _set("start_date", "0001-01-01"),
        WORKFLOW + "start_date: '0001-01-01' is not in the years 1900 to 2199; write another one",
    ),
    "start date of the year 9999": (
        _set("start_date", "9999-12-31T23:00:00"),
        WORKFLOW + "start_date: '9999-12-31T23:00:00' is not in the years 1900 to 2199; write another one",
    ),
    "reserved workflow": (
        lambda rows: (
            rows.workflow("calendar").update(workflow_id="accelerator_x"),
            rows.task("dim_date").update(workflow_id="accelerator_x"),
        ),
        "workflows row accelerator_x: workflow_id: starts with accelerator_, which is kept for the DAGs of this package; "
        "rename it",
    ),
    "after itself": (
        _set("after", "calendar"),
        WORKFLOW + "after: calendar would start itself for ever; take it out",
    ),
    "after twice": (
        _set("after", ["sales", "x://y", "sales"]),
        WORKFLOW + "after: sales given more than once; keep one",
    ),
    "after no id": (
        _set("after", ["sales of the day"]),
        WORKFLOW + "after[0]: may hold letters, digits, '_', '-' and '.' only; rename it",
    ),
    "after without values": (
        lambda rows: rows.workflow("daily_sales").update(after="calendar", params=[{"name": "country", "required": True}]),
        "workflows row daily_sales: params: country must have a default, since after starts runs without values",
    ),
    "no task": (lambda rows: rows.tasks.pop(), WORKFLOW + "has no task; add a row to tasks"),
    "workflow twice": (
        lambda rows: rows.workflows.append({"workflow_id": "calendar"}),
        WORKFLOW + "given more than once; keep one",
    ),
}
