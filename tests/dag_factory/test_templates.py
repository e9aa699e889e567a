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
        # What would take all time or memory: of whoever checks it, or of the task that renders it.
        ("{{ 'a' | replace('', 'aaaaaaaaaa') }}", "filter replace: takes two plain texts, of which the first is not empty"),
        ("{{ params.filter | replace('a', params.filter) }}", "filter replace: takes two plain texts"),
        ("{{ params.filter | replace('a', 'b', 1) }}", "filter replace: takes two plain texts"),
        (
            "{{ params.filter" + " | replace('a', 'aa')" * 4 + " }}",
            "filter replace: join, replace, tojson, urlencode may be applied",
        ),
        (
            "{{ [params.filter | tojson | tojson | urlencode] | tojson }}",
            "filter tojson: join, replace, tojson, urlencode may be",
        ),
        ("{{ params.filter | tojson(900000000) }}", "filter tojson: takes no argument"),
        ("{{ params.filter | join(params.country) }}", "filter join: takes a plain text alone"),
        ("{{ params.filter | join(',', '__class__') }}", "filter join: takes a plain text alone"),
        ("{{ 1 | round(999999999) }}", "filter round: takes a whole number from 0 to 15 alone"),
        ("{{ 1 | round(2, 'ceil') }}", "filter round: takes a whole number from 0 to 15 alone"),
        ("{{ 1 | round(params.country) }}", "filter round: takes a whole number from 0 to 15 alone"),
        ("{{ params.filter" + ".a" * 100 + " }}", "is nested deeper than 60 levels in a template; write a shorter one"),
        ("{{ " + "not " * 220 + "params.filter }}", "is nested deeper than 60 levels in a template; write a shorter one"),
        ("{{ params.items | default('') }}", "items is what every object can do in a template; no param has that name"),
        ("{{ params['keys'] is defined }}", "keys is what every object can do in a template; no param has that name"),
        (
            "{{ params.filter.items }}",
            "items is what every object can do in a template; write ['items'] for an item of that name",
        ),
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
    "source",
    [
        "9**(9**9) > 0",
        "'x' * 2000000000 == 'y'",
        "1 | round(999999999, 'ceil') > 0",
        "[[1]] | tojson(900000000) == ''",
        "'a'" + " | replace('', 'aaaaaaaaaaaaaaa')" * 20,
        "not " * 220 + "params.country",
        "params.country" + " | d(1)" * 150,
        "(" * 2000,
        "params.country == 'x' }} {{ 1",
        "params.country == 'x' {# #}",
        "params.country == 💥",
        "x" * 2001,
    ],
)
def test_a_condition_is_checked_without_working_anything_out(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling works out what is constant: it may take all time and memory, and cannot be stopped."""
    monkeypatch.setattr(SandboxedEnvironment, "compile_expression", None)
    monkeypatch.setattr(SandboxedEnvironment, "compile", None)
    assert templates.check_condition(source, PARAMS) != []
    assert templates.check_condition("params.country == 'AT' and batch_id | length > 3", PARAMS) == []


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
