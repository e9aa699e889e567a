"""Workflows that come after others."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization
from sqlalchemy import text

from dag_factory import building
from dag_factory.building import unusable
from dag_factory.factory import WHOLE, build_all, build_one
from dag_factory.predecessors import circular, followed, makers_of, predecessors_of
from dag_factory.task_types.registry import task_types
from dag_factory.validation import validate
from dag_factory.workflow_dag import build_dag
from provider.airflow_internals.dags import UnusableDagError
from provider.metadata.definition_rows import read_predecessors
from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Shard
from tests.dag_factory.definitions import Rows
from tests.dag_factory.stored_dag import build, stored


def test_assets_are_nobody_to_follow() -> None:
    assert followed({"b": ["a", "s3://x/y"], "c": ["a", "b"]}) == {"a", "b"}


@pytest.mark.parametrize(
    ("after", "circles"),
    [
        ({"b": ["a"], "c": ["a", "b"]}, {}),
        ({"a": ["b"], "b": ["a"], "c": ["b"]}, dict.fromkeys("ab", "a → b → a")),
        (
            {"a": ["c"], "b": ["a"], "c": ["b", "x://y"], "x": ["y"], "y": ["x"]},
            {**dict.fromkeys("abc", "a → c → b → a"), **dict.fromkeys("xy", "x → y → x")},
        ),
        # Between two circles there is none, and of two that share a workflow one is named.
        (
            {"a": ["b"], "b": ["a"], "m": ["b"], "x": ["y", "m"], "y": ["x", "z"], "z": ["y"]},
            {**dict.fromkeys("ab", "a → b → a"), **dict.fromkeys("xyz", "x → y → x")},
        ),
        ({"a": ["a"], "b": ["a"]}, {}),
    ],
)
def test_circles(after: dict[str, list[str]], circles: dict[str, str]) -> None:
    found = {problem.workflow_id: problem.message for problem in circular(after)}
    assert found == {
        name: f"after: workflows would start one another for ever: {way}; take one out" for name, way in circles.items()
    }


def test_thousands_of_circles_are_found_in_one_go() -> None:
    """One after another it would take minutes, which is longer than a parse may."""
    pairs = {f"w{n}": [f"w{n ^ 1}"] for n in range(5_000)}
    ring = {f"r{n}": [f"r{(n + 1) % 5_000}"] for n in range(5_000)}
    chain = {f"c{n}": [f"c{n + 1}"] for n in range(20_000)} | {"c20000": []}
    assert len(circular({**pairs, **ring, **chain})) == 10_000


class TestAfter:
    def dag(self, rows: Rows, **options: Any) -> Any:
        rows.workflow("calendar").update(after=["daily_sales", "bigquery://p/d/t"], **options)
        return DagSerialization.from_dict(stored(build(rows, "calendar")))

    def test_a_workflow_waits_for_all_that_it_comes_after(self, rows: Rows) -> None:
        dag = self.dag(rows, schedule=None)
        assert type(dag.timetable).__name__ == "AssetTriggeredTimetable"
        assert sorted(one.uri for _, one in dag.timetable.asset_condition.iter_assets()) == [
            "bigquery://p/d/t",
            "x-accelerator://workflows/daily_sales",
        ]
        assert "after `daily_sales`, `bigquery://p/d/t`" in str(dag.doc_md)

    def test_beside_a_schedule(self, rows: Rows) -> None:
        dag = self.dag(rows)
        assert type(dag.timetable).__name__ == "AssetOrTimeSchedule"
        assert dag.timetable.can_be_scheduled

    def test_not_while_it_is_switched_off(self, rows: Rows) -> None:
        assert type(self.dag(rows, enabled=False).timetable).__name__ == "NullTimetable"

    def test_what_is_followed_tells_of_its_success_behind_all_its_tasks(self, rows: Rows) -> None:
        spec = validate(rows.definitions()).workflows["daily_sales"].model_copy(update={"is_followed": True})
        watcher: Any = build_dag(spec, task_types()).get_task("batch_watcher")
        assert [one.uri for one in watcher.outlets] == ["x-accelerator://workflows/daily_sales"]
        assert watcher.upstream_task_ids == {task.task_id for task in spec.tasks}

    @pytest.mark.parametrize(
        ("row", "column", "named"),
        [
            ("stg_orders", "outlets", "tasks row stg_orders: outlets"),
            ("daily_sales", "after", "workflows row daily_sales: after"),
        ],
    )
    def test_an_asset_that_airflow_refuses_is_named_by_row_and_column(
        self, rows: Rows, row: str, column: str, named: str
    ) -> None:
        (rows.task(row) if column == "outlets" else rows.workflow(row))[column] = ["bigquery://p"]
        with pytest.raises(UnusableDagError) as raised:
            build(rows)
        assert str(unusable("daily_sales", raised.value)) == (
            f"{named}: 'bigquery://p' is no URI that Airflow takes: URI format bigquery:// must contain dataset and table names; "
            "correct it"
        )

    def test_a_task_tells_of_what_it_makes(self, rows: Rows) -> None:
        rows.task("stg_orders")["outlets"] = "bigquery://p/d/t"
        assert [one.uri for one in build(rows).get_task("stg_orders").outlets] == ["bigquery://p/d/t"]


def define(**after: Any) -> None:
    """Make these the workflows, each with one task."""
    workflows = [{"workflow_id": name, "after": said} for name, said in after.items()]
    tasks = [{"task_id": f"{name}_task", "workflow_id": name, "task_type": "external"} for name in after]
    with write_session() as session:
        replace_workflows(session, DefinitionRows(workflows, tasks, []))


def outlets(dag: Any) -> list[str]:
    return [one.uri for one in dag.get_task("batch_watcher").outlets] if "batch_watcher" in dag.task_ids else []


@pytest.mark.usefixtures("application_database", "snapshot_file")
class TestFactory:
    def test_only_what_is_followed_tells_of_its_success_in_every_process(self) -> None:
        define(a=[], b=["a"])
        shard_of_a = next(shard for shard in (Shard(1, 2), Shard(2, 2)) if "a" in shard)
        uri = ["x-accelerator://workflows/a"]
        assert {name: outlets(dag) for name, dag in build_all().dags.items()} == {"a": uri, "b": []}
        # Whoever follows may be in another DAG file.
        assert outlets(build_all(shard_of_a).dags["a"]) == uri
        assert outlets(build_one("a").dags["a"]) == uri
        assert outlets(build_one("a", only_task="batch_watcher").dags["a"]) == uri

    def test_while_the_database_is_away_it_is_as_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        define(a=[], b=["a"])
        build_all()
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://nobody@/nothing?host=/nonexistent")
        assert outlets(build_all().dags["a"]) == ["x-accelerator://workflows/a"]
        assert outlets(build_one("a").dags["a"]) == ["x-accelerator://workflows/a"]

    def test_who_is_in_a_circle_stays_what_it_was(self) -> None:
        define(a=[], b=["a"], c=[])
        build_all(WHOLE)
        define(a=["b"], d=["e"], e=["d"])
        built = build_all(WHOLE)

        assert sorted(built.dags) == ["a", "b", "c"]
        assert type(built.dags["a"].timetable).__name__ == "NullTimetable"
        assert [
            (problem.row, problem.message.split(": ")[-1]) for problem in built.problems if "for ever" in problem.message
        ] == [
            ("workflows row a", "a → b → a; take one out"),
            ("workflows row b", "a → b → a; take one out"),
            ("workflows row d", "d → e → d; take one out"),
            ("workflows row e", "d → e → d; take one out"),
        ]

    def test_what_is_no_list_of_names_is_the_rows_own_problem(self) -> None:
        define(a=[], b=["a"], c="a", d=[7, "a"], e={"a": 1})
        with read_session() as session:
            assert read_predecessors(session) == {"b": ["a"], "c": ["a"], "d": ["a"], "e": []}

    @pytest.mark.parametrize("row", ['{"no": "list"}', "[7]", "null"])
    def test_a_follower_whose_row_turned_bad_is_followed_as_it_was(self, row: str) -> None:
        """Its last good definition waits for the asset, so somebody has to make it."""
        define(a=[], b=["a"])
        build_all()
        with write_session() as session:
            session.execute(text("UPDATE workflows SET after = :row WHERE workflow_id = 'b'"), {"row": row})
        built = build_all()
        follower: Any = built.dags["b"]
        assert [one.uri for one in follower.timetable.asset_condition.objects] == ["x-accelerator://workflows/a"]
        assert outlets(built.dags["a"]) == ["x-accelerator://workflows/a"]
        assert outlets(build_one("a", only_task="batch_watcher").dags["a"]) == ["x-accelerator://workflows/a"]

    def test_a_follower_of_another_shard_is_followed_as_it_was(self) -> None:
        define(a=[], **{name: ["a"] for name in "bcdef"})
        shards = Shard(1, 2), Shard(2, 2)
        of_a, other = sorted(shards, key=lambda shard: "a" not in shard)
        for shard in shards:
            build_all(shard)
        with write_session() as session:
            session.execute(text("UPDATE workflows SET after = '[]', timezone = 'nowhere' WHERE workflow_id <> 'a'"))
        build_all(other)
        assert outlets(build_all(of_a).dags["a"]) == ["x-accelerator://workflows/a"]

    def test_a_circle_with_what_others_were_is_none(self) -> None:
        """The rows make none, but one of them cannot be used."""
        define(a=["b"], b=[], c=["b"])
        build_all()
        with write_session() as session:
            session.execute(text("UPDATE workflows SET after = '[]', timezone = 'nowhere' WHERE workflow_id = 'a'"))
            session.execute(text("UPDATE workflows SET after = '[\"a\"]' WHERE workflow_id = 'b'"))
        for _ in range(2):
            built = build_all()
            assert {name: type(dag.timetable).__name__ for name, dag in built.dags.items()} == {
                "a": "AssetTriggeredTimetable",
                "b": "NullTimetable",
                "c": "AssetTriggeredTimetable",
            }
            assert [str(problem) for problem in built.problems if "for ever" in problem.message] == [
                "workflows row b: after: workflows would start one another for ever: a → b → a; take one out"
            ]

    def test_a_circle_by_way_of_assets_is_one(self) -> None:
        tasks = [("loop", ["x-t://loop"]), ("first", ["x-t://first"]), ("second", ["x-t://second"]), ("free", ["x-t://free"])]
        after = {"loop": "x-t://loop", "first": "x-t://second", "second": "x-t://first", "free": "x-t://first"}
        rows = DefinitionRows(
            [{"workflow_id": name, "after": [said]} for name, said in after.items()],
            [{"task_id": f"{name}_task", "workflow_id": name, "task_type": "external", "outlets": made} for name, made in tasks],
        )
        found = circular(predecessors_of(validate(rows).workflows.values()), makers_of(validate(rows).workflows.values()))
        with write_session() as session:
            replace_workflows(session, rows)
        built = build_all()
        circles = [problem for problem in built.problems if "for ever" in problem.message]
        assert sorted(map(str, circles)) == sorted(map(str, found))
        assert [(problem.workflow_id, problem.message.split(": ")[-1]) for problem in found] == [
            ("loop", "loop → loop; take one out"),
            ("first", "first → second → first; take one out"),
            ("second", "first → second → first; take one out"),
        ]
        assert sorted(built.dags) == ["free"]

    def test_more_assets_than_airflow_can_ask_for_at_once_cost_the_workflows_that_bring_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(building, "_MOST_ASSETS_OF_FILE", 4)
        define(a=[], b=["a"], c=["x-t://1", "x-t://2", "x-t://3"], d=["x-t://1", "x-t://2", "x-t://3", "x-t://4"], e=[])
        built = build_all()
        assert sorted(built.dags) == ["a", "b", "c", "e"]
        (problem,) = built.problems
        assert "the DAG file has more than 4, which is too many for Airflow in one file" in str(problem)


@pytest.mark.parametrize("uri", ["s3://b/k/", "S3://b/k"])
def test_an_asset_has_one_name(rows: Rows, uri: str) -> None:
    """Of two with one URI Airflow deactivates one, and fails the tasks that make it."""
    rows.task("stg_orders")["outlets"] = [uri]
    with pytest.raises(UnusableDagError, match="write it so"):
        build(rows)
