from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from provider.cli import output
from provider.cli.main import console
from provider.metadata.engine import write_session
from provider.metadata.tables import TaskBatch, TaskLog

NOON = datetime(2026, 3, 16, 12, 0, tzinfo=UTC)
LONG_ID = "projects/demo-project/locations/europe-west3/repositories/inventory/workflowInvocations/1784550123-" + "9" * 80
LINK = "https://console.cloud.google.com/bigquery/dataform/" + "x" * 120


def _batch(workflow_id: str, batch_id: str, **columns: Any) -> TaskBatch:
    return TaskBatch(**{"workflow_id": workflow_id, "batch_id": batch_id, "created_at": NOON, "updated_at": NOON, **columns})


def _log(task_id: str, try_number: int = 1, **columns: Any) -> TaskLog:
    row = {"workflow_id": "stock_levels", "batch_id": "B1", "row_source": "reconciler", "updated_at": NOON}
    return TaskLog(**row, task_id=task_id, try_number=try_number, **columns)


@pytest.fixture
def _history(application_database: str) -> None:
    minute = timedelta(minutes=1)
    with write_session() as session:
        session.add_all(
            [
                _batch(
                    "stock_levels",
                    "B1",
                    status="ERROR",
                    source="message",
                    message_id="77",
                    scope="downstream",
                    start_task_ids=["stg_stock", "stg_suppliers"],
                    params={"country": "DE"},
                    started_at=NOON,
                    ended_at=NOON + timedelta(hours=1, seconds=2),
                    error="no table suppliers",
                ),
                _batch("daily_sales", "B1", status="SUCCESS", created_at=NOON + minute),
                _batch("daily_sales", "B2", status="PROCESSING", created_at=NOON + 2 * minute, started_at=NOON + 2 * minute),
                _log(
                    "stg_suppliers",
                    1,
                    status="ERROR",
                    started_at=NOON,
                    ended_at=NOON + timedelta(seconds=4.25),
                    error_message="Not found: Table [bold]demo-project:raw.suppliers[/bold]\n\x1b[31mwas not found",
                    remote_job_id=LONG_ID,
                    remote_job_url=LINK,
                ),
                _log("stg_suppliers", 2, status="ERROR", started_at=NOON + minute, ended_at=NOON + 2 * minute),
                _log("stg_stock", 1, status="SUCCESS", started_at=NOON + timedelta(seconds=1), ended_at=NOON + minute),
                _log("refresh_stock_levels", 1, status="BLOCKED", end_cause="marked_failed", ended_by="ann_b"),
                _log("mapped", 1, map_index=3, status="PROCESSING", started_at=NOON + 3 * minute),
            ]
        )


@pytest.mark.usefixtures("_history")
def test_batches_newest_first(accelerator) -> None:
    assert accelerator("batches").out.splitlines() == [
        "status      started               ended                 duration    source   workflow      batch  error",
        "PROCESSING  2026-03-16T12:02:00Z  -                     -           -        daily_sales   B2     -",
        "SUCCESS     -                     -                     -           -        daily_sales   B1     -",
        "ERROR       2026-03-16T12:00:00Z  2026-03-16T13:00:02Z  1h 00m 02s  message  stock_levels  B1     no table suppliers",
    ]


@pytest.mark.usefixtures("_history")
@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--workflow", "daily_sales"], ["daily_sales B2", "daily_sales B1"]),
        (["--status", "error"], ["stock_levels B1"]),
        (["--workflow", "daily_sales", "--status", "SUCCESS"], ["daily_sales B1"]),
        (["--limit", "2"], ["daily_sales B2", "daily_sales B1"]),
        (["--workflow", "daily_sales", "--status", "ERROR"], []),
    ],
    ids=" ".join,
)
def test_batches_filtered(accelerator, options: list[str], ids: list[str]) -> None:
    batches = json.loads(accelerator("batches", *options, "--output", "json").out)
    assert [f"{batch['workflow_id']} {batch['batch_id']}" for batch in batches] == ids
    assert accelerator("batches", *options).code == 0


@pytest.mark.usefixtures("_history")
def test_logs_of_a_batch(accelerator) -> None:
    result = accelerator("logs", "B1", "--workflow", "stock_levels")
    assert result.code == 0, result.err
    header, _, table = result.out.partition("\n\n")
    assert header.splitlines() == [
        "workflow    stock_levels",
        "batch       B1",
        "status      ERROR",
        "started by  message (message 77)",
        "scope       downstream from stg_stock, stg_suppliers",
        "params      country=DE",
        "created     2026-03-16T12:00:00Z",
        "started     2026-03-16T12:00:00Z",
        "ended       2026-03-16T13:00:02Z",
        "duration    1h 00m 02s",
        "error       no table suppliers",
    ]
    error = "Not found: Table [bold]demo-project:raw.suppliers[/bold] \\x1b[31mwas not found"
    assert [re.split(r"  +", line) for line in table.splitlines()] == [
        ["status", "try", "started", "ended", "duration", "task", "end cause", "remote job", "link", "error"],
        ["ERROR", "1", "2026-03-16T12:00:00Z", "2026-03-16T12:00:04Z", "4.2s", "stg_suppliers", "-", LONG_ID, LINK, error],
        ["ERROR", "2", "2026-03-16T12:01:00Z", "2026-03-16T12:02:00Z", "1m 00s", "stg_suppliers", "-", "-", "-", "-"],
        ["SUCCESS", "1", "2026-03-16T12:00:01Z", "2026-03-16T12:01:00Z", "59.0s", "stg_stock", "-", "-", "-", "-"],
        ["PROCESSING", "1", "2026-03-16T12:03:00Z", "-", "-", "mapped[3]", "-", "-", "-", "-"],
        ["BLOCKED", "1", "-", "-", "-", "refresh_stock_levels", "marked failed by ann_b", "-", "-", "-"],
    ]


@pytest.mark.usefixtures("_history")
def test_logs_as_json_keep_everything(accelerator) -> None:
    data = json.loads(accelerator("logs", "B1", "--workflow", "stock_levels", "-o", "json").out)
    assert data["batch"]["params"] == {"country": "DE"}
    first = data["task_logs"][0]
    assert first["remote_job_id"] == LONG_ID
    assert first["error_message"].endswith("\n\x1b[31mwas not found")
    assert (first["started_at"], first["ended_at"]) == ("2026-03-16T12:00:00Z", "2026-03-16T12:00:04.250000Z")


@pytest.mark.usefixtures("_history")
def test_logs_of_a_batch_that_two_workflows_have(accelerator) -> None:
    result = accelerator("logs", "B1")
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: batch B1 is in several workflows: daily_sales, stock_levels; name one with --workflow.\n"
    assert accelerator("logs", "B2").out.endswith("No task logs.\n")


@pytest.mark.usefixtures("_history")
def test_logs_of_no_batch(accelerator) -> None:
    result = accelerator("logs", "B2", "--workflow", "stock_levels")
    assert result.code == 1
    assert result.err == "error: there is no batch B2 in workflow stock_levels; `accelerator batches` lists those there are.\n"


@pytest.mark.usefixtures("_history")
def test_a_near_id_is_told(accelerator) -> None:
    with write_session() as session:
        session.add(_batch("stock_levels", "Batch_20260316_001"))
    error = accelerator("logs", "Batch_20260316_01").err
    assert error.startswith("error: there is no batch Batch_20260316_01; did you mean Batch_20260316_001? `accelerator batches`")


@pytest.mark.usefixtures("_history")
def test_the_newest_batch_goes_by_a_name(accelerator) -> None:
    newest = json.loads(accelerator("logs", "latest", "-o", "json").out)["batch"]
    assert (newest["workflow_id"], newest["batch_id"]) == ("daily_sales", "B2")
    of_one = json.loads(accelerator("logs", "latest", "--workflow", "stock_levels", "-o", "json").out)["batch"]
    assert of_one["batch_id"] == "B1"
    with write_session() as session:
        session.add(_batch("stock_levels", "latest"))
    assert json.loads(accelerator("logs", "latest", "-o", "json").out)["batch"]["batch_id"] == "latest", "an id comes first"


@pytest.mark.usefixtures("_history")
@pytest.mark.parametrize("arguments", [["batches"], ["logs", "B1"], ["requests"], ["restart", "--failed"]], ids=" ".join)
def test_an_unknown_workflow_is_an_error(accelerator, arguments: list[str]) -> None:
    result = accelerator(*arguments, "--workflow", "dayli_sales")
    assert (result.code, result.out) == (1, "")
    assert (
        result.err == "error: there is no workflow dayli_sales; did you mean daily_sales? known are: daily_sales, stock_levels.\n"
    )
    assert accelerator("batches", "--workflow", "' OR 1=1 --").code == 1


def test_where_there_is_no_batch_at_all_latest_is_none(accelerator, application_database: str) -> None:
    result = accelerator("logs", "latest")
    assert result.code == 1
    assert "error: there is no batch latest; `accelerator batches` lists those there are." in result.err


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch):
    """Run something on a terminal of that many columns; return its lines, without colours."""

    def run(width: int, show: Callable[[], object]) -> list[str]:
        terminal = _Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            patch.setenv("COLUMNS", str(width))
            patch.setenv("TERM", "xterm")
            show()
        return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()

    return run


COLUMNS = ["status", "try", "started", "ended", "duration", "workflow", "batch", "end cause", "remote job", "error"]
MOMENT, BATCH, JOB = "2026-03-16T12:00:00Z", "scheduled__2026-03-16T12:00:00.000000+00:00__of_daily_sales_1", "b" * 36
ERROR = "Not found: Table demo-project:raw.suppliers " * 11 + "y" * 150
ROWS = [["ERROR", "1", MOMENT, MOMENT, "1h 00m 02s", "daily_sales_of_all_shops", BATCH, "", JOB, ERROR], ["NEW", "1", *[""] * 8]]


@pytest.mark.parametrize(
    ("width", "beside"),
    [
        (80, COLUMNS[:5]),
        (120, COLUMNS[:6]),
        (170, COLUMNS[:7]),
        (200, [*COLUMNS[:7], "remote job"]),
    ],
)
def test_short_columns_stand_beside_each_other_and_the_others_below(on_terminal, width: int, beside: list[str]) -> None:
    lines = on_terminal(width, lambda: output.write_table(COLUMNS, ROWS, below=("error",)))

    cells = dict(zip(COLUMNS, ROWS[0], strict=True))
    assert re.split(r"  +", lines[0]) == beside, "a column without any cell is left out"
    assert re.split(r"  +", lines[1]) == [cells[name] for name in beside]
    for name in ("workflow", "batch", "remote job"):
        if name not in beside:
            assert [line for line in lines if re.fullmatch(rf"    {name} +{re.escape(cells[name])}", line)]
    first = next(number for number, line in enumerate(lines) if line.startswith("    error"))
    of_error = [line[lines[first].index("Not") :] for line in lines[first:-1]]
    assert " ".join(of_error).split() == ERROR.split(), "no word is broken"
    assert {len(line) <= width for line in lines[: first + len(of_error) - 1]} == {True}
    assert re.split(r"  +", lines[-1]) == ["NEW", "1"]


def test_an_id_that_is_wider_than_the_terminal_stays_whole(on_terminal) -> None:
    lines = on_terminal(80, lambda: output.write_table(["status", "task", "remote job"], [["ERROR", "t", LONG_ID]]))
    assert lines == ["status  task", "ERROR   t", f"    remote job  {LONG_ID}"]
    assert on_terminal(80, lambda: output.write_table(["task"], [[LONG_ID]])) == ["task", LONG_ID]


def test_a_table_on_a_terminal_obeys_nothing(on_terminal) -> None:
    lines = on_terminal(60, lambda: output.write_table(["task", "error"], [["[red]x[/red]", "\x1b[2J [b]"]], below=("error",)))
    assert lines == ["task", "[red]x[/red]", "    error  \\x1b[2J [b]"]


@pytest.mark.usefixtures("_history")
def test_logs_on_a_terminal_have_the_link(on_terminal) -> None:
    lines = on_terminal(80, lambda: console(["logs", "B1", "--workflow", "stock_levels"]))
    assert f"    link        {LINK}" in lines
    assert f"    remote job  {LONG_ID}" in lines


def test_moments_and_durations() -> None:
    vienna = datetime(2026, 7, 1, 14, 30, 59, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert output.utc(vienna) == "2026-07-01T12:30:59Z"
    assert output.utc(None) == ""
    cases = {0.04: "0.0s", 59.94: "59.9s", 59.96: "1m 00s", 60: "1m 00s", 3599.6: "1h 00m 00s", 86_400: "24h 00m 00s", -5: "0.0s"}
    for seconds, shown in cases.items():
        assert output.duration(NOON, NOON + timedelta(seconds=seconds)) == shown
    assert output.duration(NOON, None) == ""


@pytest.mark.usefixtures("_history")
def test_batches_are_watched_until_ctrl_c(on_terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, codes = [], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        with write_session() as session:
            session.add(_batch("daily_sales", "B3", created_at=NOON + timedelta(hours=1)))

    monkeypatch.setattr("provider.cli.redraw.time.sleep", sleep)
    lines = on_terminal(120, lambda: codes.append(console(["batches", "--watch", "--limit", "2"])))

    shown = [line.split()[-1] for line in lines if "sales" in line]
    assert (codes, shown) == ([0], ["B2", "B1", "B3", "B2"])
    assert pauses == [2.0, 2.0]
    assert [line for line in lines if line.endswith("shown anew every 2 s. End with Ctrl-C.")]


@pytest.mark.usefixtures("_history")
def test_watching_needs_a_terminal(accelerator) -> None:
    result = accelerator("batches", "--watch")
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: --watch needs a terminal; leave it out, or give --output json to a program.\n"
    assert accelerator("batches", "--watch", "-o", "json").err.startswith("error: --watch is for people")
