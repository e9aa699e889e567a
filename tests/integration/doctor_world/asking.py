"""Who asks the doctor, and what it is to say of a fault."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.integration.doctor_world.place import Environment, Installation

SECRET = "s3cr-et-of-nobody"
BY_API = "AIRFLOW__ACCELERATOR__AIRFLOW_CONN_ID"
#: The ways to see Airflow, and what of the environment says so.
WAYS: Mapping[str, Mapping[str, str]] = {"API": {}, "database": {BY_API: ""}}
BOTH = tuple(WAYS)
_AT = r"\d{4}-\d\d-\d\dT\S+"

#: Answers commands, one a line, without importing everything for each of them; without a command it tells which checks there are.
PROGRAM = """
import contextlib, io, json, os, sys
from provider.cli.main import console
from provider.doctor.everything import all_checks
from provider.metadata.engine import dispose_engines
answers = sys.stdout
sys.stdout = sys.stderr
own = dict(os.environ)
for line in sys.stdin:
    environment, arguments = json.loads(line)
    os.environ.clear()
    os.environ.update({name: value for name, value in {**own, **environment}.items() if value is not None})
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = console(arguments) if arguments else print(json.dumps([check.name for check in all_checks("a token")]))
    dispose_engines()  # as at the end of a command
    print("ANSWER " + json.dumps([code, said.getvalue()]), file=answers, flush=True)
"""


Produced = Callable[[Installation], AbstractContextManager[Environment]]


@dataclass(frozen=True)
class Line:
    """
    What the doctor has to say of a fault in one check.

    :param seen: pattern of the whole text.
    :param remedy: pattern of what the remedy begins with.
    :param way: the only way to see Airflow in which it is said; empty for any.
    """

    check: str
    state: str
    seen: str
    remedy: str
    way: str = ""


@dataclass(frozen=True)
class Fault:
    """
    A fault, and what the doctor has to say of it.

    :param name: what is wrong.
    :param produced: produces it, and mends it at the end; the value is the environment of the command.
    :param lines: what the doctor has to say.
    :param unseen: further checks that cannot be looked at meanwhile.
    :param ways: the ways to see Airflow in which the doctor is asked.
    :param arguments: of the command.
    :param fresh: whether a process of its own is asked, as what is wrong is there before it begins.
    """

    name: str
    produced: Produced
    lines: tuple[Line, ...]
    unseen: frozenset[str] = frozenset()
    ways: tuple[str, ...] = ("API",)
    arguments: tuple[str, ...] = ()
    fresh: bool = False


@dataclass(frozen=True)
class Answer:
    """What `accelerator doctor` says: its exit code, and for each check its state, what was seen and the remedy."""

    code: int
    said: str

    def findings(self) -> dict[str, tuple[str, str, str]]:
        return {one["check"]: (one["state"], one["seen"], one["remedy"]) for one in json.loads(self.said)}

    def complaints(self) -> dict[str, tuple[str, str, str]]:
        return {check: found for check, found in self.findings().items() if found[0] != "ok"}


def setting(**environment: str | None) -> Produced:
    """A fault of the environment of the command alone."""
    return lambda _: nullcontext(environment)


def settings(environment: Callable[[Installation], Environment]) -> Produced:
    """The same, of values of the installation."""
    return lambda place: nullcontext(environment(place))


def late(of: str, whose: str, state: str, seconds: str) -> Line:
    seen = rf"this machine and the {whose} differ by {seconds}\.\d s at least"
    return Line(of, state, seen, rf"Synchronize the clocks of this machine and of the {whose}")


def dead(component: str) -> Line:
    return Line(component, "error", rf"not alive, last heartbeat {_AT}", f"Start `airflow {component}`, or see why it does not")


class Doctor:
    """
    Asks `accelerator doctor`, in one process that lives on or in processes of their own, and keeps what it said of faults.

    :param place: the installation.
    """

    def __init__(self, place: Installation) -> None:
        self._place = place
        self._environment = place.world.airflow.environment()
        self.table: list[tuple[str, str, str, str]] = []
        command = [sys.executable, "-c", PROGRAM]
        self._process = subprocess.Popen(command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def ask(self, environment: Environment, *arguments: str, output: str = "json") -> Answer:
        """Ask the process that lives on."""
        return Answer(*self._answer(environment, "doctor", "-o", output, *arguments))

    def checks(self, environment: Environment) -> set[str]:
        """Return the names of all checks, also of those that do not concern the installation."""
        _, said = self._answer(environment)
        return set(json.loads(said))

    def _answer(self, environment: Environment, *arguments: str) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        question = [dict(environment), arguments]
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("ANSWER "):
                code, said = json.loads(line.removeprefix("ANSWER "))
                return code, said
        raise AssertionError("the process that asks has ended.")

    def ask_anew(self, environment: Environment, *arguments: str, output: str = "json") -> Answer:
        """Ask by the command itself."""
        command = [str(Path(sys.executable).parent / "accelerator"), "doctor", "-o", output, *arguments]
        merged = {name: value for name, value in {**self._environment, **environment}.items() if value is not None}
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=merged)
        assert result.stderr == ""
        return Answer(result.returncode, result.stdout)

    def names(self, fault: Fault, environment: Environment) -> None:
        """Ask while a fault is there: it is named, with its remedy, and nothing else is said to be wrong."""
        for way in fault.ways:
            ask = self.ask_anew if fault.fresh else self.ask
            answer = ask({**WAYS[way], **environment}, *fault.arguments)
            complaints = answer.complaints()
            lines = [line for line in fault.lines if line.way in ("", way)]
            for line in lines:
                state, seen, remedy = complaints.pop(line.check, ("ok", "", ""))
                self.table.append((line.check, f"{fault.name}, by the {way}" if len(fault.ways) > 1 else fault.name, state, seen))
                told = (state, bool(re.fullmatch(line.seen, seen)), bool(re.match(line.remedy, remedy)))
                assert told == (line.state, True, True), f"{fault.name}, by the {way}, {line.check}: {seen!r}, {remedy!r}"
            others = {check: found for check, found in complaints.items() if check not in fault.unseen or found[0] != "unknown"}
            assert others == {}, f"{fault.name}, by the {way}: {others}\n{self._place.world.airflow.log_ends()}"
            self._lead_to_it(complaints, {line.check for line in lines})
            assert (answer.code, SECRET in answer.said) == (any(line.state == "error" for line in lines), False), fault.name

    @staticmethod
    def _lead_to_it(unseen: Mapping[str, tuple[str, str, str]], named: set[str]) -> None:
        """What could not be looked at refers to a check that says more."""
        for check, (_, _, remedy) in unseen.items():
            others = named | unseen.keys() - {check}
            assert any(other in remedy for other in others), f"{check}: {remedy!r} leads to none of {others}"

    def is_well(self, *arguments: str) -> None:
        """Wait until all is well, by both ways to see Airflow."""
        answers: list[Answer] = []

        def well() -> bool:
            answers[:] = [self.ask(WAYS[way], *arguments) for way in BOTH]
            return all((answer.code, answer.complaints()) == (0, {}) for answer in answers)

        self._place.wait("all to be well", well, explain=lambda: str([answer.complaints() for answer in answers]))
