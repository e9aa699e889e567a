"""The lists of `make mutate` are true, and what it says of results; without trying a mutant."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.mutation import workspace as workspaces
from tests.mutation.mutants import all_mutants, change, draw, function_name
from tests.mutation.plan import ROOT, Change, Module, read_equivalent, read_plan
from tests.mutation.verdict import judge, passed, report
from tests.mutation.workspace import Workspace

PLAN = read_plan()
EQUIVALENT = read_equivalent()
A, B, C = (Change("provider/a.py", "f", f"return {number}", f"return {number + 1}") for number in (1, 2, 3))
KILLED, SURVIVED, TIMED_OUT = 1, 0, 36


def functions(path: Path) -> dict[str, str]:
    """Return the lines of each function and method of a file, without indentation, by name."""
    text = path.read_text(encoding="utf-8")
    lines, found = text.splitlines(), {}
    for node in ast.parse(text).body:
        for part in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{node.name}.{part.name}" if isinstance(node, ast.ClassDef) else part.name
                found[name] = "\n".join(line.strip() for line in lines[part.lineno - 1 : part.end_lineno])
    return found


@pytest.mark.parametrize("module", PLAN.modules.values(), ids=PLAN.modules)
def test_modules_name_files_that_are_there(module) -> None:
    assert [name for name in (*module.files, *module.tests) if not (ROOT / name).is_file()] == []


def test_no_file_is_mutated_twice() -> None:
    files = [file for module in PLAN.modules.values() for file in module.files]

    assert len(files) == len(set(files))


@pytest.mark.parametrize("entry", EQUIVALENT, ids=lambda entry: f"{entry.file}:{entry.function}")
def test_equivalent_mutants_are_of_code_that_is_there(entry: Change) -> None:
    assert entry.file in {file for module in PLAN.modules.values() for file in module.files}
    assert entry.line in functions(ROOT / entry.file)[entry.function]
    assert EQUIVALENT[entry].strip()


def test_a_mutant_is_known_by_what_it_changes() -> None:
    original = ["def f(a):", "    if a:", "        return 1", "    return 2"]
    mutated = ["def f(a):", "    if a:", "        return 3", "    return 2"]

    assert change("a.py", "xǁKlassǁf", original, mutated) == Change("a.py", "Klass.f", "return 1", "return 3")
    assert function_name("x__private") == "_private"


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    names = [str(number) for number in range(100)]

    assert draw(names, 10, 7) == draw(list(reversed(names)), 10, 7)
    assert draw(names, 10, 7) != draw(names, 10, 8)
    assert draw(names, None, 7) == names


def test_mutants_are_killed_equivalent_or_survivors() -> None:
    mutants, results = {"a": A, "b": B, "c": C}, {"a": KILLED, "b": SURVIVED, "c": SURVIVED}

    outcome = judge("m", mutants, results, list(mutants), {B: "it changes nothing"})

    assert (outcome.tried, outcome.killed, outcome.equivalent, outcome.survivors) == (3, 1, 1, {"c": C})
    assert not passed([outcome])
    assert "survived: c\n  provider/a.py, f\n    - return 3\n    + return 4" in report([outcome])


def test_interrupted_mutants_are_not_tried() -> None:
    outcome = judge("m", {"a": A, "b": B}, {"a": TIMED_OUT}, ["a", "b"], {})

    assert (outcome.tried, outcome.killed, outcome.timed_out) == (1, 1, 1)
    assert passed([outcome])


@pytest.mark.parametrize(
    ("mutants", "results", "reason"),
    [
        ({"a": A}, {"a": KILLED}, "is noticed by a test"),
        ({"b": B}, {"b": KILLED}, "is no mutant of the code"),
    ],
)
def test_entries_of_the_list_that_are_none_any_more_are_named(mutants, results, reason) -> None:
    outcome = judge("m", mutants, results, list(mutants), {A: "it changes nothing"})

    assert reason in report([outcome])
    assert not passed([outcome])


def test_entries_of_other_files_are_not_stale() -> None:
    other = Change("provider/b.py", "f", "return 1", "return 2")

    assert passed([judge("m", {"a": A}, {"a": KILLED}, ["a"], {other: "it changes nothing"})])


def test_one_survivor_of_twenty_is_as_many_as_may_be() -> None:
    mutants = {str(number): Change("provider/a.py", "f", f"a = {number}", "a = None") for number in range(20)}
    results = {**dict.fromkeys(mutants, KILLED), "0": SURVIVED}

    assert passed([judge("m", mutants, results, list(mutants), {})])
    assert not passed([judge("m", mutants, results, list(mutants)[:19], {})])


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of nothing but one file, ``provider/a.py``."""
    monkeypatch.setattr(workspaces, "FOLDER", tmp_path)
    made = Workspace(Module("m", ("provider/a.py",), ()), PLAN.settings)
    (made.mutants / "provider").mkdir(parents=True)
    (made.folder / "provider").mkdir()
    return made


def test_mutants_are_named_by_their_function_and_lines_of_the_log_have_none(workspace: Workspace) -> None:
    source = "class Klass:\n    def f(self, a: int) -> bool:\n        self.log.info('a %s', a + 1)\n        return a < 1\n"
    (workspace.folder / "provider" / "a.py").write_text(source)
    workspace._write_settings()

    changes = set(all_mutants(workspace).values())

    assert Change("provider/a.py", "Klass.f", "return a < 1", "return a <= 1") in changes
    assert {found.line for found in changes} == {"return a < 1"}


def test_after_a_changed_test_what_none_had_noticed_is_tried_again(workspace: Workspace) -> None:
    codes = {"killed": KILLED, "survived": SURVIVED, "slow": TIMED_OUT, "interrupted": 2, "untried": None}
    meta = workspace.mutants / "provider" / "a.py.meta"
    meta.write_text(json.dumps({"exit_code_by_key": codes, "durations_by_key": {}}))
    assert workspace.results() == {"killed": KILLED, "survived": SURVIVED, "slow": TIMED_OUT}

    workspace._forget_survivors()
    assert workspace.results() == {"killed": KILLED}


def test_a_change_is_seen_once(workspace: Workspace) -> None:
    assert [workspace._changed("tests", text) for text in ("a", "a", "b", "b", "a")] == [True, False, True, False, True]
