"""The documentation as a site: it builds without a warning, whole, and asks nothing of the network."""

from __future__ import annotations

import re
import socket
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sphinx.application import Sphinx

from tests.docs import cli_page

ROOT = Path(__file__).parents[2]
#: What a browser fetches by itself when it shows a page; an `a` is for people.
FETCHES = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does, in a process that can reach no other machine."""
    folder = tmp_path_factory.mktemp("site")

    def refuse(*address: object) -> None:
        raise AssertionError(f"the build asked for {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        builder = Sphinx(ROOT, ROOT / "docs", folder, folder / ".doctrees", "html", status=None, warningiserror=True)
        builder.build()
    assert builder.statuscode == 0
    return folder


class Fetched(HTMLParser):
    """The addresses that a page fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        address = dict(attributes).get(FETCHES.get(tag, ""))
        if address:
            self.found.append(address)


def fetched(text: str) -> list[str]:
    parser = Fetched()
    parser.feed(text)
    return parser.found


def test_pages_and_styles_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = {path: fetched(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    styles = {
        path: re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", path.read_text(encoding="utf-8"))
        for path in site.rglob("*.css")
    }
    away = re.compile(r"(?:https?:)?//")

    assert len(pages) > 20
    assert styles
    assert {
        path.name: found for path, all_ in {**pages, **styles}.items() if (found := [one for one in all_ if away.match(one)])
    } == {}


def test_what_a_page_fetches_is_there(site: Path) -> None:
    for path in site.rglob("*.html"):
        for address in fetched(path.read_text(encoding="utf-8")):
            assert (path.parent / re.split(r"[?#]", address)[0]).exists(), (path, address)


def test_scripts_ask_no_other_machine(site: Path) -> None:
    calls = re.compile(r"(?:fetch|importScripts|sendBeacon|\.open)\(\s*[\"'`](?:\w+[\"'],\s*[\"'])?(?:https?:)?//")
    assert [path.name for path in site.rglob("*.js") if calls.search(path.read_text(encoding="utf-8"))] == []


def test_every_page_for_people_is_on_the_site(site: Path) -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/README.md", ROOT / "deploy/composer/README.md"]
    missing = [page for page in pages if not (site / page.relative_to(ROOT)).with_suffix(".html").exists()]
    assert missing == []


def test_a_web_server_finds_the_first_page(site: Path) -> None:
    (target,) = re.findall(r"url=([^\"]+)", (site / "index.html").read_text(encoding="utf-8"))
    assert (site / target).exists()


def test_the_page_of_commands_is_current() -> None:
    """After a change of commands: ``make docs``, or ``python -m tests.docs.cli_page``."""
    assert cli_page.PAGE.read_text(encoding="utf-8") == cli_page.page()
