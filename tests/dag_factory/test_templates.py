from __future__ import annotations

import pytest
from jinja2 import StrictUndefined, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from dag_factory import templates

PARAMS = ("country", "filter")


@pytest.mark.parametrize(
    "source",
    [
        "plain",
        "{{ params.country }}",
        "{{ params['country'] }}",
        "{{ params.filter.region[0] }}",
        "{{ params.other | default('x') }}",
        "{{ 'x' if params.other is defined else 'y' }}",
        "{{ batch_date | replace('-', '') }}_{{ batch_id }}",
        "{{ 'a' ~ task_id ~ workflow_id | upper }}",
        "{{ 'x' if params.country == 'DE' and not params.filter else 'y' }}",
        "{# a remark #}{{ batch_id }}",
        "{{ params.country in ['DE', 'AT'] }}",
    ],
)
def test_what_rows_may_say(source: str) -> None:
    assert templates.check(source, PARAMS) == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ ds }}", "ds is not set in a run that a message started; use batch_date"),
        ("{{ data_interval_start }}", "data_interval_start is not set in a run that a message started; use batch_date"),
        ("{{ logical_date.year }}", "logical_date is not set in a run that a message started; use batch_date"),
        ("{{ batch_dat }}", "batch_dat is not known; did you mean batch_date? a template may use: batch_date, batch_id, params,"),
        ("{{ params }}", "params needs the name of a parameter: params.<name>"),
        (
            "{{ params.countr }}",
            "params.countr is not declared; did you mean country? params of the workflow are: country, filter",
        ),
        ("{{ params[batch_id] }}", "an item must be named by a plain text or number in a template"),
        ("{{ params.__class__ }}", "__class__: names that start with '_' are not allowed in a template"),
        ("{{ params['__class__'] }}", "__class__: names that start with '_' are not allowed in a template"),
        ("{{ params.filter._x }}", "_x: names that start with '_' are not allowed in a template"),
        ("{{ batch_id.upper }}", "batch_id is a text and has no item upper"),
        ("{{ params.filter.keys() }}", "call is not allowed in a template"),
        ("{{ ti.task_id }}", "ti is not known"),
        ("{{ conn.x.password }}", "conn is not known"),
        ("{{ var.value.secret }}", "var is not known"),
        ("{{ macros }}", "macros is not known"),
        ("{% for x in params.filter %}{% endfor %}", "for is not allowed in a template"),
        ("{% set batch_id = 1 %}", "assign is not allowed in a template"),
        ("{% include 'x' %}", "include is not allowed in a template"),
        ("{{ 'x' * 9999999999 }}", "mul is not allowed in a template"),
        ("{{ batch_id | attr('x') }}", "filter attr is not allowed"),
        ("{{ batch_id | batch_date }}", "filter batch_date is not allowed"),
        ("{{ params.x | default(value='a') }}", "filter default: give its arguments by position"),
        ("{{ batch_id is callable }}", "test callable is not allowed"),
        ("{{ batch_id", "not a Jinja template: unexpected end of template"),
        ("{{ " + "(" * 5000, "not a Jinja template"),
        # What fails before default is asked; StrictUndefined is Airflow's.
        *(
            (f"{{{{ {source} }}}}", "params.x is not declared")
            for source in (
                "params.x | upper | default('a')",
                "params.x.y | default('a')",
                "params.x[0] | d('a')",
                "(params.x ~ 'a') | default('b')",
                "(params.x + 1) | default('b')",
                "params.filter | default(params.x)",
                "(params.x | upper) is defined",
            )
        ),
        ("{{ params.filter[0:2] }}", "an item must be named by a plain text or number in a template"),
    ],
)
def test_what_rows_may_not_say(source: str, reason: str) -> None:
    problems = templates.check(source, PARAMS)

    assert len(problems) == 1
    assert problems[0].startswith(reason)


@pytest.mark.parametrize(
    "source", ["params.x | upper | default('a')", "params.x.y | default('a')", "params.filter | default(params.x)"]
)
def test_what_is_refused_under_default_would_fail(source: str) -> None:
    """The check says what Airflow's own environment does, which knows no undefined values."""
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    with pytest.raises(UndefinedError):
        environment.from_string(f"{{{{ {source} }}}}").render(params={"filter": environment.undefined()})


def test_our_names_become_airflows_and_nothing_else_changes() -> None:
    written = templates.to_airflow(
        {
            "a": "batch_id {{batch_id}} {{ params.batch_id }} {{ 'batch_id' }} \r\n",
            "b": ["{{ batch_date|upper }}", "{{ task_id ~ workflow_id }}", 1, None],
        }
    )

    assert written == {
        "a": "batch_id {{run_id}} {{ params.batch_id }} {{ 'batch_id' }} \n",
        "b": ["{{ (dag_run.run_after | batch_date)|upper }}", "{{ ti.task_id ~ dag.dag_id }}", 1, None],
    }


def test_a_name_is_replaced_where_it_is_a_key_of_nothing() -> None:
    rewritten = templates.to_airflow("{{ params.a[batch_id] ~ (batch_id) }}")

    assert SandboxedEnvironment().from_string(rewritten).render(params={"a": {"r": 1}}, run_id="r") == "1r"
