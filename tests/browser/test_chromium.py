"""Where the browser comes from: this machine, or a package that is installed once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser.chromium import chromium_program


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for; whoever looks is root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder


def program(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def test_that_of_the_machine(programs: Path) -> None:
    program(programs / "google-chrome")
    program(programs / "apt-get", "exit 1")
    assert chromium_program() == str(programs / "google-chrome")


def test_it_is_installed_where_it_is_not_there(programs: Path) -> None:
    asked = programs / "asked"
    install = f'case "$*" in *install*chromium*) PATH=/usr/bin:/bin cp "$0" {programs}/chromium;; esac'
    program(programs / "apt-get", f'echo "$2" >> {asked}', install)
    assert chromium_program() == str(programs / "chromium")
    assert asked.read_text().split() == ["update", "install"]


def test_why_there_is_none(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(programs / "apt-get", "echo 'E: no network' >&2", "exit 100")
    with pytest.raises(FileNotFoundError, match="no Chromium: apt-get --quiet update failed: E: no network"):
        chromium_program()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(FileNotFoundError, match="no Chromium: none of chromium, .* is on this machine"):
        chromium_program()
