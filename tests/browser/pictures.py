"""
The pictures of the documentation: ``python -m tests.browser.pictures docs/images``.

They are taken of a real Airflow, with the batches that the tests of the pages look at. Where ``pngquant`` is installed they
become a third as large.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import update

from demo.world import World
from provider.metadata.engine import dispose_engines, write_session
from provider.metadata.tables import Task
from tests.browser.chromium import chromium
from tests.browser.shop import (
    EXTERNAL,
    FAILED,
    PAUSED,
    PERSON,
    POOLED,
    RETRIED,
    RUNNING,
    fill_pool,
    password,
    shop,
    wait_for_batch,
)
from tests.browser.visitor import Visitor, fill_trigger_form

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Most bytes of a picture.
MOST_BYTES = 150_000
_WIDTH = 1440


def batches(visitor: Visitor) -> None:
    frame = visitor.open_in_airflow()
    frame.locator("tr.row").nth(30).wait_for()


def failed_batch(visitor: Visitor) -> None:
    frame = visitor.open_in_airflow()
    frame.get_by_role("link", name=FAILED[1]).click()
    frame.locator(".gantt svg").wait_for()


def restart(visitor: Visitor) -> None:
    failed_batch(visitor)
    visitor.frame.get_by_role("button", name="Run failed and blocked again").click()
    visitor.frame.get_by_role("dialog").wait_for()


def why(visitor: Visitor) -> None:
    frame = visitor.open_tab(POOLED)
    frame.get_by_role("button", name="Why does it wait?").click()
    frame.get_by_role("dialog").wait_for()


def requests(visitor: Visitor) -> None:
    frame = visitor.open_in_airflow()
    frame.get_by_role("link", name="Requests").click()
    frame.get_by_label("State").select_option("all")
    frame.locator("tr.row").nth(5).wait_for()


def definitions(visitor: Visitor) -> None:
    frame = visitor.open_in_airflow()
    frame.get_by_role("link", name="Definitions").click()
    frame.get_by_role("table", name="Problems", exact=True).wait_for()


def health(visitor: Visitor) -> None:
    frame = visitor.open_in_airflow()
    frame.get_by_role("link", name="Health").click()
    frame.get_by_role("table").wait_for()


def trigger_form(visitor: Visitor) -> None:
    visitor.page.goto(f"{visitor.url}/dags/daily_sales")
    visitor.page.get_by_role("button", name="Trigger").first.click()
    fill_trigger_form(visitor.page)


#: Name of the file → what is shown, in which theme, and the height of the window.
PICTURES: dict[str, tuple[Callable[[Visitor], None], str, int]] = {
    "batches": (batches, "light", 800),
    "failed-batch": (failed_batch, "light", 880),
    "failed-batch-dark": (failed_batch, "dark", 880),
    "restart": (restart, "light", 640),
    "why": (why, "light", 640),
    "requests": (requests, "light", 600),
    "definitions": (definitions, "light", 640),
    "health": (health, "light", 860),
    "trigger-form": (trigger_form, "light", 1000),
}


def main() -> int:
    """Take all pictures and return the exit code: 1 where one is too large."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.pictures", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as home, chromium() as browser, shop(Path(home)) as world:
        prepare(world)
        take(browser, world, folder)
    dispose_engines()
    too_large = [name for name in PICTURES if compressed(folder / f"{name}.png") > MOST_BYTES]
    if too_large:
        print(f"larger than {MOST_BYTES} bytes: {', '.join(too_large)}; install pngquant, or show less", file=sys.stderr)
    return 1 if too_large else 0


def prepare(world: World) -> None:
    """Wait until every batch is what the pictures show, and break a definition."""
    for key, status in {
        FAILED: "ERROR",
        RETRIED: "SUCCESS",
        RUNNING: "PROCESSING",
        EXTERNAL: "PROCESSING",
        PAUSED: "NEW",
    }.items():
        wait_for_batch(world, key, status)
    fill_pool(world)
    wait_for_batch(world, POOLED, "PROCESSING")
    with write_session(world.database_url) as session:
        session.execute(
            update(Task).where(Task.task_id == "refresh_margins").values(config={"workspace": "Sales", "modell": "Ledger"})
        )
    world.airflow.read_again()


def take(browser: Browser, world: World, folder: Path) -> None:
    """Take each picture in a window of its own size."""
    context = browser.new_context(viewport={"width": _WIDTH, "height": 900}, reduced_motion="reduce")
    visitor = Visitor(context, world.airflow.url)
    visitor.log_in(PERSON, password(world))
    for name, (show, theme, height) in PICTURES.items():
        visitor.set_theme(theme)
        visitor.page.set_viewport_size({"width": _WIDTH, "height": height})
        show(visitor)
        visitor.page.mouse.move(_WIDTH - 1, height - 1)  # nothing shall look as though the pointer were over it
        visitor.page.screenshot(path=folder / f"{name}.png", animations="disabled")
    context.close()


def compressed(picture: Path) -> int:
    """Make a picture smaller where that can be done, and return its bytes."""
    program = shutil.which("pngquant")
    if program:
        subprocess.run([program, "--force", "--strip", "--speed", "1", "--output", str(picture), "128", str(picture)], check=True)
    return picture.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
