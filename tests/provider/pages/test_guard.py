"""Nothing is reached without a login, and each answer tells a browser to be careful."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute

from provider.pages.application import build_application
from tests.provider.pages.conftest import Pages

ROUTES = [(method, route.path) for route in build_application().routes if isinstance(route, APIRoute) for method in route.methods]


def test_every_route_is_one_that_dependencies_guard() -> None:
    """A mounted folder of files, or a bare route of Starlette, would answer anybody."""
    application = build_application()
    assert all(isinstance(route, APIRoute) for route in application.routes)
    assert {"/", "/files/{name}", "/api/batches", "/api/batch", "/api/request/retry", "/api/health"} <= {
        path for _, path in ROUTES
    }
    assert not {"/docs", "/openapi.json", "/redoc"} & {path for _, path in ROUTES}


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.usefixtures("embedded_database")
def test_nobody_without_a_login(pages: Pages, method: str, path: str) -> None:
    address = f"/accelerator{path.replace('{name}', 'main.js')}"
    for answer in (
        pages.ask(address, None, method),
        pages.ask(address, None, method, headers={"Content-Type": "application/json"}, content=b'{"id": 1}'),
    ):
        assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})
    forged = pages.ask(address, None, method, headers={"Authorization": "Bearer e30.e30.x"})
    assert forged.status_code in (401, 403)


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(
    "path", ["docs", "openapi.json", "redoc", "files/", "files/../access.py", "files/%2e%2e%2faccess.py", "static/"]
)
def test_there_is_nothing_else(pages: Pages, path: str) -> None:
    answer = pages.ask(f"/accelerator/{path}")
    assert answer.status_code in (404, 405)


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(
    ("path", "person"), [("", "ann"), ("files/main.js", "ann"), ("api/batches", "ann"), ("api/batches", None)]
)
def test_each_answer_tells_a_browser_to_be_careful(pages: Pages, path: str, person: str | None) -> None:
    headers = pages.ask(f"/accelerator/{path}", person).headers
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == ("no-store" if path.startswith("api") else "private, max-age=60")


@pytest.mark.usefixtures("embedded_database")
def test_a_file_that_a_browser_has_is_not_sent_again(pages: Pages) -> None:
    first = pages.ask("/accelerator/files/main.js")
    again = pages.ask("/accelerator/files/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.usefixtures("embedded_database")
def test_a_form_of_another_site_changes_nothing(pages: Pages) -> None:
    answer = pages.ask("/accelerator/api/request/retry", method="POST", data={"id": "1"})
    assert answer.status_code == 415
    plain = pages.ask(
        "/accelerator/api/request/retry", method="POST", content=b'{"id": 1}', headers={"Content-Type": "text/plain"}
    )
    assert plain.status_code in (415, 422)


@pytest.mark.parametrize(
    "body",
    ['{"id": NaN}', '{"id": Infinity}', '{"id": 1e400}', '{"id": "\\ud800"}', '{"id": 1, "payload": {"password": "geheim-123"}}'],
)
@pytest.mark.usefixtures("embedded_database")
def test_what_makes_no_sense_is_not_sent_back(body: str, pages: Pages) -> None:
    headers = {"Content-Type": "application/json"}
    answer = pages.ask("/accelerator/api/request/retry", method="POST", content=body.encode(), headers=headers)
    assert answer.status_code == 422
    assert [set(one) for one in answer.json()["detail"]] == [{"loc", "msg", "type"}]
    assert "geheim" not in answer.text


@pytest.mark.usefixtures("pages")
def test_a_database_that_is_away_is_told_without_its_password(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://us:geheim-1234@127.0.0.1:1/x")
    answer = pages.ask("/accelerator/api/batches")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("The application database cannot be read: ")
    assert "geheim" not in answer.text
