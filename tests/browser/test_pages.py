"""
What people do with the pages, in Chromium, with a real Airflow around them.

The tests tell one story: one after the other, each waits for what it needs of the batches that run meanwhile.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from demo.world import World
from tests.browser.shop import (
    CUT,
    EARLY,
    EXTERNAL,
    FAILED,
    PAUSED,
    POOLED,
    RETRIED,
    RUNNING,
    WAITING,
    define_late,
    fill_pool,
    wait_for_batch,
    wait_for_state,
)
from tests.browser.visitor import LATER, Visitor, fill_trigger_form, press_until

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

AGAIN = "Run failed and blocked again"


def expect(locator: Any) -> Any:
    """Return Playwright's assertions, which wait; with the patience that a busy machine needs."""
    from playwright.sync_api import expect as playwright_expect

    playwright_expect.set_options(timeout=60_000)
    return playwright_expect(locator)


def tries(world: World, key: tuple[str, str]) -> dict[str, list[str]]:
    """Return the status of each try of each task of a batch."""
    (logs,) = world.rows("task_logs")
    found: dict[str, list[str]] = {}
    for row in sorted(logs, key=lambda row: row["try_number"]):
        if (row["workflow_id"], row["batch_id"]) == key:
            found.setdefault(row["task_id"], []).append(row["status"])
    return found


def test_the_main_path_needs_no_mouse(world: World, visitor: Visitor) -> None:
    wait_for_batch(world, FAILED, "ERROR")
    page = visitor.open("batches")
    page.keyboard.press("/")
    page.keyboard.type(FAILED[1])
    page.keyboard.press("Enter")
    expect(page.locator("tr.row")).to_have_count(1)
    press_until(page, "Tab", "tr.row a.id")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=AGAIN)).to_be_visible()
    press_until(page, "Tab", "button.primary")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Run again")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name=AGAIN)).to_be_focused()
    page.go_back()
    expect(page.locator("tr.row")).to_have_count(1)
    page.keyboard.press("j")
    expect(page.locator("tr.row a.id")).to_be_focused()


def test_a_failed_batch_is_found_understood_and_run_again(world: World, visitor: Visitor) -> None:
    wait_for_batch(world, FAILED, "ERROR")
    frame = visitor.open_in_airflow()
    expect(frame.locator("tr.row").nth(30)).to_be_visible()
    frame.get_by_label("Status").select_option(label="Failed")
    expect(frame.locator("tr.row")).to_have_count(1)
    expect(frame.locator("tr.row .progress")).to_have_text("1 failed, 3 blocked, 2 succeeded")
    frame.get_by_role("link", name=FAILED[1]).click()
    failure = frame.locator(".failure")
    expect(failure).to_contain_text("Not found: Table demo-project:raw.suppliers was not found in location europe-west3")
    expect(frame.get_by_role("table", name="Tasks that did not run")).to_contain_text("blocked by stg_suppliers")

    failure.get_by_role("link", name="log").click()
    visitor.page.wait_for_url("**/dags/stock_levels/runs/*/tasks/stg_suppliers?try_number=1")
    expect(visitor.page.get_by_text("Task failed with exception")).to_be_visible()
    visitor.page.go_back()

    frame.get_by_role("button", name=AGAIN).click()
    plan = frame.get_by_role("dialog")
    expect(plan.locator("li")).to_have_count(3)
    expect(plan).to_contain_text("Not run again: 1 task that succeeded.")
    expect(plan).to_contain_text("stg_suppliers starts its remote job anew")
    frame.locator("body").evaluate("body => { body.ownerDocument.defaultView.seenBefore = true; }")
    plan.get_by_role("button", name="Run again").click()
    expect(plan).to_be_hidden()
    expect(frame.locator(".batch-head .chip")).to_have_text(re.compile("Succeeded"), timeout=LATER)
    assert frame.locator("body").evaluate("body => body.ownerDocument.defaultView.seenBefore"), "it was not loaded again"
    expect(frame.get_by_role("button", name=AGAIN)).to_be_hidden()

    wait_for_batch(world, FAILED, "SUCCESS")
    once = ["SUCCESS"]
    assert {name: statuses for name, statuses in tries(world, FAILED).items() if name != "batch_watcher"} == {
        "start_batch": once,
        "stg_stock": once,
        "stg_suppliers": ["ERROR", "SUCCESS"],
        "mart_stock": once,
        "refresh_stock_levels": once,
    }


def test_a_rejected_message_is_corrected_and_tried_again(world: World, visitor: Visitor) -> None:
    frame = visitor.open_in_airflow()
    frame.get_by_role("link", name="Requests").click()
    expect(frame.locator("tr.row").filter(has_text=WAITING[1])).to_contain_text("its workflow is disabled")
    assert frame.get_by_role("link", name=WAITING[1]).count() == 0, "there is no such batch yet"
    frame.get_by_label("State").select_option("rejected")
    expect(frame.locator("tr.row")).to_have_count(2)
    row = frame.locator("tr.row").filter(has_text=EARLY[1])
    expect(row).to_contain_text("task_id 'stg_vouchers' is in no row of the table tasks")
    define_late(world)
    row.get_by_role("button").click()
    dialog = frame.get_by_role("dialog")
    payload = dialog.get_by_label("Payload")
    expect(payload).to_have_value(re.compile('"task_id": "stg_vouchers"'))
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog.get_by_role("status")).to_contain_text("Received, as request")
    dialog.get_by_role("button", name="Close").click()
    expect(frame.locator("tr.row")).to_have_count(1)  # it is no longer among the rejected
    frame.locator("tr.row").get_by_role("button").click()
    expect(payload).to_have_value('{"task_id": "stg_orders", "batch_id":')
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog.get_by_role("status")).to_contain_text("Rejected, as request")
    payload.fill(json.dumps({"task_id": "stg_vouchers", "batch_id": CUT[1]}))
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog.get_by_role("status")).to_contain_text("Received, as request")
    dialog.get_by_role("button", name="Close").click()
    frame.get_by_label("State").select_option("dispatched")
    expect(frame.get_by_role("link", name=CUT[1])).to_be_visible(timeout=LATER)
    wait_for_batch(world, EARLY, "SUCCESS")
    frame.get_by_role("link", name=EARLY[1]).click(timeout=LATER)
    expect(frame.locator(".batch-head .chip")).to_have_text(re.compile("Succeeded"), timeout=LATER)
    assert tries(world, EARLY)["stg_vouchers"] == ["SUCCESS"]


def test_a_run_is_started_in_the_middle_by_the_trigger_form(world: World, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{visitor.url}/dags/daily_sales")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    fill_trigger_form(page)
    form.get_by_role("button", name="Trigger", exact=True).click()
    expect(form).to_be_hidden()
    frame = visitor.open_in_airflow()
    frame.get_by_label("Started by").select_option("ui")
    frame.locator("tr.row a.id").click(timeout=LATER)
    expect(frame.locator(".batch-head .chip")).to_have_text(re.compile("Succeeded"), timeout=LATER)
    expect(frame.locator(".facts")).to_contain_text("downstream from refresh_daily_sales")
    expect(frame.locator(".facts")).to_contain_text("country = at")
    expect(frame.get_by_role("table", name="Tasks that did not run")).to_contain_text("out of scope of this batch")
    (batches,) = world.rows("task_batches")
    (batch,) = (row for row in batches if row["source"] == "ui")
    assert batch["start_task_ids"] == ["refresh_daily_sales"]
    assert batch["params"]["country"] == "at"
    done = tries(world, (batch["workflow_id"], batch["batch_id"]))
    assert (done["stg_orders"], done["stg_customers"], done["refresh_daily_sales"]) == (["SKIPPED"], ["SKIPPED"], ["SUCCESS"])


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (PAUSED, "DAG returns is paused. `accelerator resume returns`, or its switch in Airflow."),
        (EXTERNAL, "receive_files waits for a message that tells its end: task_id receive_files"),
        (POOLED, f"Pool reports is full, 1 of 1 slots are taken: month_end refresh_ledger in {RUNNING[1]}."),
        (RUNNING, "refresh_ledger waits for remote job"),
    ],
    ids=["paused", "external", "pool", "remote job"],
)
def test_the_page_says_why_a_batch_waits(world: World, visitor: Visitor, key: tuple[str, str], reason: str) -> None:
    if key == POOLED:
        fill_pool(world)
    task = {EXTERNAL: "receive_files", RUNNING: "refresh_ledger"}.get(key)
    if task:
        wait_for_state(world, key, task, "deferred")
    wait_for_batch(world, key, "NEW" if key == PAUSED else "PROCESSING")
    frame = visitor.open_tab(key)
    frame.get_by_role("button", name="Why does it wait?").click()
    expect(frame.get_by_role("dialog").locator("p").first).to_contain_text(reason)
    assert frame.locator("html").evaluate("root => root.scrollWidth <= root.clientWidth")


def test_a_retry_is_seen_as_two_tries(world: World, visitor: Visitor) -> None:
    wait_for_batch(world, RETRIED, "SUCCESS")
    frame = visitor.open_tab(RETRIED)
    rows = frame.get_by_role("table", name="Every try of every task").get_by_role("row").filter(has_text="load_rates")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Exceeded rate limits")
    expect(rows.last).to_contain_text("Succeeded")


def test_what_looks_wrong_is_noticed(visitor: Visitor) -> None:
    visitor.page.set_content('<body><p style="color: #999">faint</p><p style="width: 2000px">wide</p></body>')
    assert visitor.flaws() == [
        "the page is 2008 pixels wide in a window of 1440",
        '"faint" has a contrast of 2.8, less than 4.5',
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_can_be_read_in_a_narrow_window_too(world: World, visitor: Visitor, theme: str) -> None:
    wait_for_batch(world, RUNNING, "PROCESSING")
    visitor.set_theme(theme)
    of_batch = [("batch", {"dag_id": dag_id, "run_id": run_id}) for dag_id, run_id in (FAILED, RUNNING, PAUSED)]
    views: list[tuple[str, dict[str, str]]] = [
        ("batches", {}),
        *of_batch,
        ("requests", {}),
        ("requests", {"state": "all", "id": "1"}),
        ("definitions", {}),
        ("definition", {"workflow": "stock_levels"}),
        ("health", {}),
    ]
    flaws = {}
    for view, parameters in views:
        visitor.open(view, **parameters)
        if "id" in parameters:
            visitor.page.get_by_role("dialog").wait_for()
        for width in (1440, 800, 400):
            visitor.page.set_viewport_size({"width": width, "height": 900})
            if found := visitor.flaws():
                flaws[f"{view} {parameters} {width}"] = found
    background = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 29, 45)"}[theme]
    assert flaws == {}


def test_a_batch_is_cancelled(world: World, visitor: Visitor) -> None:
    wait_for_state(world, RUNNING, "refresh_ledger", "deferred")
    frame = visitor.open_in_airflow()
    frame.get_by_role("link", name=RUNNING[1]).click()
    frame.get_by_role("button", name="Cancel …").click()
    plan = frame.get_by_role("dialog")
    expect(plan).to_contain_text("Ended: refresh_ledger")
    expect(plan).to_contain_text("will be cancelled")
    plan.get_by_role("button", name="Cancel the batch").click()
    expect(plan).to_be_hidden()
    expect(frame.locator(".batch-head .chip")).to_have_text(re.compile("Failed"), timeout=LATER)
    expect(frame.get_by_role("button", name="Cancel …")).to_be_hidden()
    note = world.airflow.rest("GET", f"/dags/{RUNNING[0]}/dagRuns/{RUNNING[1]}")["note"]
    assert note == "Cancelled by ann on the page of the batch."
