"""The plugin as Airflow loads it: views for the UI, and an application that is built when somebody asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.provider.pages.conftest import Pages

ROOT = Path(__file__).parents[3]

#: Airflow's plugin manager itself imports no FastAPI.
PROGRAM = """
import sys
from provider.plugin import AcceleratorPlugin
names = ("fastapi", "starlette", "sqlalchemy.orm", "provider.pages", "provider.metadata.tables")
print(sorted(name for name in names if name in sys.modules))
"""


def test_the_plugin_brings_nothing_of_the_pages() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] in ("[]", "['sqlalchemy.orm']")  # Airflow's own import


@pytest.mark.usefixtures("embedded_database")
def test_airflow_lists_the_views(pages: Pages) -> None:
    answer = pages.ask("/api/v2/plugins")
    assert answer.status_code == 200
    (plugin,) = (one for one in answer.json()["plugins"] if one["name"] == "cloud_accelerator")
    views = {view["url_route"]: (view["destination"], view["href"]) for view in plugin["external_views"]}
    assert views == {
        "task-batches": ("nav", "accelerator/"),
        "task-batch": ("dag_run", "accelerator/?dag_id={DAG_ID}&run_id={RUN_ID}"),
    }
    assert [(app["url_prefix"], app["app"]) for app in plugin["fastapi_apps"]] == [("/accelerator", "provider.plugin.Pages")]
    errors = pages.ask("/api/v2/plugins/importErrors").json()["import_errors"]
    assert [one["error"] for one in errors if "already registered" not in one["error"]] == []  # a checkout is found twice
    assert pages.ask("/api/v2/plugins", "bob").status_code == 403


@pytest.mark.usefixtures("embedded_database")
def test_airflow_serves_the_page_to_whoever_has_logged_in(pages: Pages) -> None:
    page = pages.ask("/accelerator/?dag_id=a&run_id=b", "bob")
    assert page.status_code == 200
    assert '<script type="module" src="files/main.js">' in page.text
    for name in ("icon.svg", "icon-dark.svg", "pages.css", "main.js"):
        assert pages.ask(f"/accelerator/files/{name}", "bob").status_code == 200
