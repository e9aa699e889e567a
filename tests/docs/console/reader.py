"""A reader who carries out what the pages say, in terminals of 80 columns and a home of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.console.blocks import Block, Step
from tests.docs.console.terminal import Terminal
from tests.waiting import wait_for

#: Longest time of a command, and of what it looks for, in seconds.
_PATIENCE = 180

#: What does not end by itself → what it prints when it is ready.
_SERVERS = {
    r"accelerator emulators\b": r"# Serving\. End with Ctrl-C\.",
    r"airflow standalone\b": r"Airflow is ready",
    r"accelerator batches --watch": r"status +started",
    r"servers/bin/gcp-storage-emulator": r"All services started",
    r"BQEMU_": r"rest\.listen",
    r"accelerator reconcile --watch": r"Reading Airflow",
}
#: What only looks, and so is repeated until it shows what the page says.
_LOOKS = re.compile(
    r"(airflow dags test|accelerator (batches|logs|why|alerts list|doctor|reconcile --check|run|restart|resume|pause))\b"
)


@dataclass
class Reader:
    """
    Somebody with some terminals.

    :param home: the home directory.
    :param environment: variables of each new terminal.
    :param means: what stands in the pages → what it means on this machine; patterns.
    :param asks: what stands in their commands → what is asked instead; patterns.
    :param codes: command → the exit codes that it may end with, where these are others than 0; patterns.
    """

    home: Path
    environment: Mapping[str, str]
    means: dict[str, str]
    asks: Mapping[str, str]
    codes: Mapping[str, Set[int]]
    terminals: dict[str, Terminal] = field(default_factory=dict)

    def terminal(self, name: str) -> Terminal:
        """Return a terminal, which is opened at its first use."""
        if name not in self.terminals:
            self.terminals[name] = Terminal(self.home, self.environment)
        return self.terminals[name]

    def carry_out(self, block: Block, terminal: str) -> None:
        """Carry out a block; each command must end as it should, and print what the page says."""
        for step in block.steps:
            self.step(step, terminal, str(block))

    def step(self, step: Step, name: str, where: str = "") -> str:
        """Carry out one command; return what it printed."""
        command = _replaced(step.command, {**self.asks, **self.means})
        said = Step(command, _replaced(step.said, self.means))
        terminal = self.terminal(name)
        if terminal.serves is not None:
            terminal.interrupt()
        for server, ready in _SERVERS.items():
            if re.match(server, command):
                output = terminal.serve(command, ready, _PATIENCE)
                assert said.printed(output), f"{where}: {command}\n{output}"
                return output
        expected = next((codes for pattern, codes in self.codes.items() if re.match(pattern, command)), {0})
        code, output = -1, ""

        def is_right() -> bool:
            nonlocal code, output
            code, output = terminal.run(command, _PATIENCE)
            return code in expected and said.printed(output)

        right = wait_for(is_right, _PATIENCE if _LOOKS.match(command) else 0.0, look_every=3.0)
        assert right, f"{where}: {command}\nexit code {code}\n{output}\n--- and the page says\n{said.said}"
        return output

    def close(self) -> None:
        """End everything."""
        for terminal in self.terminals.values():
            terminal.close()
        self.terminals.clear()


def _replaced(text: str, meanings: Mapping[str, str]) -> str:
    for pattern, meaning in meanings.items():
        text = re.sub(pattern, meaning.replace("\\", r"\\"), text)
    return text
