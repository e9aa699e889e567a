"""The pages for contributors, and the checks that they name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples/dags/README.md")]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    paths = re.findall(r"`((?:provider|dag_factory|tests|examples|docs|dags|demo)/[\w/.]*)`", text)

    assert [link for link in links if link and not (page.parent / link).exists()] == []
    assert [path for path in paths if "000N" not in path and not (ROOT / path).exists()] == []


def test_every_command_of_make_is_one() -> None:
    targets = {name for line in re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE) for name in line.split()}
    named = {name for page in PAGES for name in re.findall(r"(?:`|\$ )make ([a-z][a-z-]+)", page.read_text(encoding="utf-8"))}

    assert {"lint", "unit", "test", "compat"} <= named <= targets


def test_every_example_is_listed() -> None:
    text = PAGES[-1].read_text(encoding="utf-8")

    assert [path.name for path in sorted(PAGES[-1].parent.glob("*.py")) if f"]({path.name})" not in text] == []


def test_the_hooks_before_a_commit_are_the_parts_of_lint() -> None:
    (line,) = re.findall(r"^lint: (.*)$", MAKEFILE, re.MULTILINE)
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]

    assert [hook["entry"] for hook in repository["hooks"]] == [f"make --no-print-directory {part}" for part in line.split()]
    assert [hook["id"] for hook in repository["hooks"]] == line.split()


def test_every_requirement_has_a_pin_within_its_bounds() -> None:
    import configparser

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    requirements = [Requirement(line) for text in texts for line in text.splitlines() if line.strip()]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(name): version.split()[0] for name, _, version in (line.partition("==") for line in lines)}

    wrong = [str(found) for found in requirements if not found.specifier.contains(pins.get(canonicalize_name(found.name), ""))]
    assert wrong == []


def test_marks_are_described() -> None:
    """A mark that tests/kinds.py gives is one of pyproject.toml, so that it can be selected."""
    from tests.kinds import SERVICES

    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]["markers"]
    assert {*SERVICES, "unit"} == {line.partition(":")[0] for line in described}
