"""
The documentation as a site: ``make docs``. Sphinx reads the same Markdown that people read in the repository.

The source folder is the repository, so pages outside ``docs/`` are pages of the site without a copy, and a link between two
files is one between two pages. A link to another file, such as an example, offers it for download.
"""

from __future__ import annotations

from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

project = "airflow-provider-cloud-accelerator"
version = release = installed_version(project)
copyright = "Apache License 2.0"  # stands at the foot of each page

extensions = ["myst_parser"]
#: What is in the navigation, in this order. A page that is not is an error.
NAVIGATION = {
    "Start": ["docs/tutorial", "docs/local", "docs/composer", "deploy/composer/README"],
    "Concepts": ["docs/concepts"],
    "How-to": ["docs/workflows", "docs/messages", "docs/migration", "examples/dags/README"],
    "Reference": ["docs/configuration", "docs/cli", "docs/tasklog"],
    "Operating": ["docs/pages", "docs/alerts", "docs/operations", "docs/troubleshooting", "docs/mistakes"],
    "Security": ["SECURITY"],
    "Benchmarks": ["benchmarks/README"],
    "Architecture": ["docs/architecture", "CONTRIBUTING"],
    "Changelog": ["CHANGELOG"],
}
root_doc = "README"
include_patterns = ["docs/*.md", f"{root_doc}.md", *(f"{page}.md" for pages in NAVIGATION.values() for page in pages)]

nitpicky = True
myst_heading_anchors = 6  # GitHub's anchors

html_theme = "furo"  # the reader's own fonts, nothing from elsewhere
html_title = project
html_show_sphinx = False
html_copy_source = False


def _add_navigation(_app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page the tree of all pages; on GitHub its tables of links are enough."""
    if name == root_doc:
        trees = [
            "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *(f"/{page}" for page in pages), "```"])
            for caption, pages in NAVIGATION.items()
        ]
        source[0] += "\n\n" + "\n\n".join(trees) + "\n"


def _lead_to_first_page(app: Sphinx, error: Exception | None) -> None:
    """Write index.html, which a web server looks for."""
    if error is None and app.builder.format == "html":
        onward = f'<meta http-equiv="refresh" content="0; url={root_doc}.html">'
        page = f'<!doctype html><meta charset="utf-8"><title>{project}</title>{onward}\n'
        Path(app.outdir, "index.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Give Sphinx what belongs to this site alone."""
    app.connect("source-read", _add_navigation)
    app.connect("build-finished", _lead_to_first_page)
