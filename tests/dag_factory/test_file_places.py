"""Where in a file a problem is: line and column of the key that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from dag_factory.definition_file import ParsedFile, parse
from dag_factory.problems import Problem
from dag_factory.validation import validate
from provider.input_files import read_file
from provider.strict_yaml import Places

TEXT = """\
# What is shared
shared: &shared
  project_id: p
workflows:
  - workflow_id: sales
    tasks:
      - task_id: a
        task_type: dataform
        config: {<<: *shared, region: r, repository_id: s, git_commitish: main, vars: {"a.b": 1}}
      - &copy
        task_id: b
        task_type: dataform
        depends_on:
          - nobody
        config:
          <<: *shared
          region: r
"""


def parsed_of(tmp_path: Path, text: str = TEXT, name: str = "file.yaml") -> ParsedFile:
    file = tmp_path / name
    file.write_text(text)
    places = Places()
    return parse(read_file(file, places), places)


@pytest.mark.parametrize(
    ("row", "message", "place"),
    [
        ("tasks row b", "config.region: is wrong", (17, 11)),
        ("tasks row b", "config.repository_id: missing; add it", (15, 9)),
        ("tasks row b", "config.project_id: what was merged stands elsewhere", (15, 9)),
        ("tasks row b", "something about all of it", (11, 9)),
        ("tasks row a", "config.git_commitish: is wrong", (9, 60)),
        ("task_dependencies row nobody → b", "nobody is not there", (13, 9)),
        ("workflows row sales", "timezone: is not there", (5, 5)),
        ("workflows row sales", "tasks: are wrong", (6, 5)),
        ("workflows row other", "is not in the file", None),
        ("application database", "cannot be read", None),
    ],
)
def test_a_problem_is_where_its_key_is(row: str, message: str, place: tuple[int, int] | None, tmp_path: Path) -> None:
    assert parsed_of(tmp_path).where(Problem("", row, message)) == place


def test_what_is_read_with_places_is_what_is_read_without(tmp_path: Path) -> None:
    parsed_of(tmp_path)
    file = tmp_path / "file.yaml"

    assert read_file(file, Places()) == read_file(file)


@pytest.mark.parametrize("text", ["workflow_id: sales\ntags: [a]\ntasks: []\n", "tasks: []\n", "workflow_id: sales\n"])
def test_one_workflow_without_its_list_is_one_problem(text: str, tmp_path: Path) -> None:
    (problem,) = parsed_of(tmp_path, text).problems
    assert str(problem).startswith("the file: is one workflow by itself; ")


def test_json_has_no_places(tmp_path: Path) -> None:
    parsed = parsed_of(tmp_path, '{"workflows": [{"workflow_id": "sales", "shedule": 1}]}', "file.json")

    (problem,) = parsed.problems
    assert "unknown key shedule" in problem.message
    assert parsed.where(problem) is None
    assert parsed.where(validate(parsed.rows).problems[0]) is None
