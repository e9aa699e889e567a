"""One Airflow and one browser for all tests of the pages."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.world import World
from provider.metadata import engine
from tests.browser.chromium import chromium
from tests.browser.shop import PERSON, password, shop
from tests.browser.visitor import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember of each test whether it has failed."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as browser:
            yield browser
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def world(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A real Airflow with batches of all kinds; not started where there is no browser."""
    with shop(tmp_path_factory.mktemp("shop")) as world:
        yield world
    assert world.airflow.own_processes() == []
    engine.dispose_engines()


@pytest.fixture(scope="module")
def logged_in(browser: Browser, world: World) -> Iterator[BrowserContext]:
    """The browser after somebody has logged in by Airflow's form."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    visitor = Visitor(context, world.airflow.url)
    visitor.log_in(PERSON, password(world))
    visitor.page.close()
    yield context
    context.close()


@pytest.fixture
def visitor(logged_in: BrowserContext, world: World, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A tab in which nothing may go wrong; of a test that fails, the picture and the console are in its tmp_path."""
    visitor = Visitor(logged_in, world.airflow.url)
    yield visitor
    if request.node.stash.get(_FAILED, False) or visitor.errors:
        visitor.keep(tmp_path)
    visitor.page.close()
    assert visitor.errors == []
