"""What the demo shows is what a person sees at a terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from demo.terminal import at_terminal

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def test_a_command_has_a_terminal() -> None:
    code = "import os, sys; print(sys.stdout.isatty(), os.environ['COLUMNS']); print('\\x1b[32mgreen', 'x' * 200_000)"
    said = at_terminal([sys.executable, "-c", code], ENVIRONMENT, 91)
    assert said == f"True 91\n\x1b[32mgreen {'x' * 200_000}\n"


def test_a_command_that_fails_tells_what_it_printed() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        at_terminal([sys.executable, "-c", "import sys; sys.exit('no such thing')"], ENVIRONMENT, 80)
    assert (caught.value.returncode, caught.value.output) == (1, "no such thing\n")
