"""Many workflows from one entry of a file."""

from __future__ import annotations

from typing import Any

import pytest

from dag_factory import foreach
from dag_factory.definition_file import parse
from dag_factory.validation import validate
from provider.strict_yaml import Places, load

TEXT = """\
workflows:
  - foreach:
      - {country: de, zone: Europe/Berlin, hour: 5, tags: [core, eu]}
      - {country: us, zone: America/New_York, hour: 7, tags: []}
    workflow_id: sales_${country}
    schedule: "0 ${hour} * * *"
    timezone: ${zone}
    max_active_batches: ${hour}
    tags: ${tags}
    description: "costs $5, $${hour} and {{ params }}"
    tasks:
      - task_id: wait_${country}
        task_type: external
      - task_id: load_${country}
        task_type: dataform
        depends_on: ["wait_${country}"]
        config: {project_id: p, region: r, repository_id: x, git_commitish: main, vars: {"${country}": "v_${country}"}}
  - workflow_id: other
    description: ${country}
    tasks: [{task_id: plain, task_type: external}]
"""


def test_each_value_makes_a_workflow() -> None:
    parsed = parse(load(TEXT))
    validated = validate(parsed.rows)

    assert (parsed.problems, validated.problems) == ([], [])
    assert list(validated.workflows) == ["other", "sales_de", "sales_us"]
    german = validated.workflows["sales_de"]
    assert (german.options.schedule, german.options.timezone, german.options.max_active_batches) == (
        "0 5 * * *",
        "Europe/Berlin",
        5,
    )
    assert german.options.tags == ("core", "eu")
    assert german.options.description == "costs $5, ${hour} and {{ params }}"
    assert german.edges == (("wait_de", "load_de"),)
    assert german.tasks[0].config.vars == {"de": "v_de"}
    assert validated.workflows["other"].options.description == "${country}"  # an entry without the list is as it was


def test_a_problem_is_told_at_its_place_in_the_file() -> None:
    places = Places()
    parsed = parse(load(TEXT.replace("region: r,", ""), places), places)
    problems = validate(parsed.rows).problems

    assert [problem.row for problem in problems] == ["tasks row load_de", "tasks row load_us"]
    assert [parsed.where(problem) for problem in problems] == [(17, 9), (17, 9)]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([{"country": "de"}, {"contry": "us"}], "foreach[1]: has no value for ${country}; did you mean contry? it has: contry"),
        ([], "foreach: must be a list of objects"),
        ({"country": "de"}, "foreach: must be a list of objects such as"),
        (["de"], "foreach[0]: must be an object, not 'de'"),
        ([{"country": None}], "foreach[0]: workflow_id becomes empty; let it become text"),
        ([{"country": ["de"]}], "foreach[0]: workflow_id becomes a list; let it become text"),
        ([{"country": str(n)} for n in range(foreach.MOST + 1)], "foreach: makes more than 1000 workflows, or more than"),
    ],
)
def test_what_is_wrong_with_the_list(values: Any, problem: str) -> None:
    parsed = parse({"workflows": [{"workflow_id": "${country}", "foreach": values}]})

    assert parsed.rows.workflows == []
    assert [str(found).startswith(f"workflows[0] ${{country}}: {problem}") for found in parsed.problems] == [True]


def test_a_list_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreach, "MOST_CHARACTERS", 300)
    entry = {"workflow_id": "${n}", "description": "x" * 100, "foreach": [{"n": str(n)} for n in range(3)]}

    assert "or more than" in str(parse({"workflows": [entry]}).problems[0])
    assert len(parse({"workflows": [{**entry, "foreach": [{"n": "1"}]}]}).rows.workflows) == 1


def test_a_key_of_that_name_further_down_is_a_key() -> None:
    task = {"task_id": "${n}_t", "task_type": "dataform", "config": {"vars": {"foreach": "${n}"}}}
    parsed = parse({"workflows": [{"workflow_id": "${n}", "foreach": [{"n": "a"}], "tasks": [task]}]})

    assert [row["config"] for row in parsed.rows.tasks] == [{"vars": {"foreach": "a"}}]


def test_a_placeholder_for_a_key_becomes_text() -> None:
    config = {"vars": {"${n}": 1, "${list}": 2}}
    task = {"task_id": "t", "task_type": "dataform", "config": config}
    parsed = parse({"workflows": [{"workflow_id": "w", "foreach": [{"n": 7, "list": ["a"]}], "tasks": [task]}]})

    assert [row["config"] for row in parsed.rows.tasks] == [{"vars": {"7": 1, "['a']": 2}}]


def test_the_same_id_twice_is_told() -> None:
    values = [{"n": "a"}, {"n": "a"}]
    parsed = parse(
        {"workflows": [{"workflow_id": "w_${n}", "foreach": values, "tasks": [{"task_id": "t", "task_type": "external"}]}]}
    )

    assert "workflows row w_a: given more than once; keep one" in [str(one) for one in validate(parsed.rows).problems]
