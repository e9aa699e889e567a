"""Chromium, where it is: on this machine, or out of Debian's packages where they may be installed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL_SECONDS = 300
#: Nothing but what a test opens: no look for updates, nothing on the network by itself.
_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """
    Start a browser without a window, with a profile of its own that is gone afterwards.

    :raises FileNotFoundError: there is none.
    """
    program = chromium_program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, headless=True, chromium_sandbox=False, args=list(_ARGUMENTS), timeout=60_000
        )
        try:
            yield browser
        finally:
            browser.close()


def chromium_program() -> str:
    """
    Return the browser of this machine, installed now where that can be done.

    :raises FileNotFoundError: there is none, and none can be installed; with the reason.
    """
    found = _found()
    if found is None:
        _install()
        found = _found()
    if found is None:
        raise FileNotFoundError(f"no Chromium: none of {', '.join(_NAMES)} is on this machine")
    return found


def _found() -> str | None:
    return next((path for path in map(shutil.which, _NAMES) if path), None)


def _install() -> None:
    """Install Debian's package; processes that want it at once take turns."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    with (Path(tempfile.gettempdir()) / "accelerator-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _found():
            return
        for arguments in (("update",), ("install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core")):
            command = ["apt-get", "--quiet", *arguments]
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS, env=environment
                )
            except subprocess.TimeoutExpired as error:
                raise FileNotFoundError(f"no Chromium: {' '.join(command)} took more than {_INSTALL_SECONDS} s") from error
            if done.returncode:
                last = (done.stderr or done.stdout).strip().splitlines()[-1:]
                raise FileNotFoundError(f"no Chromium: {' '.join(command)} failed: {' '.join(last)}")
