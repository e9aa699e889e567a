"""Somebody who looks at the pages: a tab of the browser, what its console says, and how it looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Error, FrameLocator, Page

#: Milliseconds for what a page does by itself; the machine may be busy.
SOON = 60_000
#: Milliseconds for what Airflow does: a batch that runs.
LATER = 180_000

_LOOKS = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")


class Visitor:
    """
    One tab.

    :param context: with the cookies of whoever has logged in; :meth:`log_in` brings them.
    :param url: of Airflow.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        context.set_default_timeout(SOON)
        self.url = url
        self.page: Page = context.new_page()
        #: Everything that the console said, by kind.
        self.console: list[str] = []
        #: Errors among it: refused by the Content-Security-Policy, not caught, not found.
        self.errors: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", self._hear_error)

    def _hear(self, message: ConsoleMessage) -> None:
        said = f"{message.type}: {message.text} ({message.location.get('url')})"
        self.console.append(said)
        if message.type == "error":
            self.errors.append(said)

    def _hear_error(self, error: Error) -> None:
        self.console.append(f"not caught: {error.stack or error}")
        self.errors.append(self.console[-1])

    def log_in(self, person: str, password: str) -> None:
        """Log in by Airflow's form, and wait for its first page."""
        self.page.goto(f"{self.url}/auth/login?next=%2F")
        self.page.locator("input[name=username]").fill(person)
        self.page.locator("input[name=password]").fill(password)
        self.page.locator("button[type=submit]").click()
        self.page.wait_for_url(lambda url: "/auth/" not in url)
        self.page.get_by_role("link", name="Task batches").wait_for()

    @property
    def frame(self) -> FrameLocator:
        """Our page within Airflow's."""
        return self.page.frame_locator("iframe")

    def open_in_airflow(self) -> FrameLocator:
        """Go to *Task batches* as people do, from Airflow's first page."""
        self.page.goto(self.url)
        self.page.get_by_role("link", name="Task batches").click()
        return self.frame

    def open_tab(self, key: tuple[str, str]) -> FrameLocator:
        """Open the tab *Batch* of a DAG run."""
        self.page.goto(f"{self.url}/dags/{key[0]}/runs/{key[1]}/plugin/task-batch")
        return self.frame

    def open(self, view: str, **parameters: str) -> Page:
        """Open one of our pages by its own address, without Airflow around it, and wait for what it shows."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        self.page.goto("about:blank")  # else the address differs by its last part alone, and nothing is loaded
        self.page.goto(f"{self.url}/accelerator/#{view}{query}")
        self.page.locator("main table, main .empty, main pre").first.wait_for()
        return self.page

    def set_theme(self, theme: str) -> None:
        """Choose a theme as Airflow's UI does; for pages that are opened from now on."""
        self.page.goto(f"{self.url}/accelerator/")
        self.page.evaluate("theme => localStorage.setItem('theme', theme)", theme)

    def flaws(self) -> list[str]:
        """Return what is wrong with how this page looks: too wide, a text that is hard to read."""
        found: list[str] = self.page.evaluate(_LOOKS)
        return found

    def keep(self, folder: Path, name: str = "failed") -> None:
        """Save a picture of the page, and what its console said."""
        self.page.screenshot(path=folder / f"{name}.png")
        address = f"at {self.page.url}"
        (folder / f"{name}.console.txt").write_text("\n".join([address, *self.console, ""]), encoding="utf-8")


def fill_trigger_form(page: Page) -> None:
    """Fill in Airflow's form for a run of daily_sales that begins in the middle."""
    form = page.get_by_role("dialog")
    form.locator("#element_country").fill("at")
    form.get_by_label("Select one or multiple values").click()
    page.get_by_role("option", name="refresh_daily_sales").click()


def press_until(page: Page, key: str, focused: str, most: int = 40) -> None:
    """
    Press a key until an element has the focus.

    :param focused: CSS selector.
    :raises AssertionError: it is not reached.
    """
    for _ in range(most):
        if page.evaluate("selector => document.activeElement.matches(selector)", focused):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not reach {focused}")
