"""Every failure message of the product, read from its code: the constant text, with … for what is put in."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from provider.exceptions import AcceleratorError

ROOT = Path(__file__).parents[2]
#: What is put in. No text in the code has this character.
HOLE = "\0"
#: How many names and calls are followed from an error to its text.
DEPTH = 6

#: Beside all errors of our own: Airflow's that a task raises, what becomes one line of a problem of definitions (pydantic
#: takes ValueError), and what a person meets at the command line.
FOREIGN = frozenset(
    {
        "AirflowException",
        "AirflowFailException",
        "AirflowSensorTimeout",
        "AirflowSkipException",
        "ArgumentTypeError",
        "DefinitionsUnavailableError",
        "ImportError",
        "Outcome",
        "Problem",
        "RuntimeError",
        "SnapshotError",
        "TimeoutError",
        "ValueError",
    }
)
#: Texts that stand in tables and constants: hints, which follow a service's own words, and reasons of the reconciler.
TABLES = {
    "provider/hooks/powerbi/errors.py": ("HINTS", "GEN2_HINT", "_PERMISSION_HINT"),
    "provider/hooks/dataform/errors.py": ("_HINTS", "_ACT_AS_HINT"),
    "provider/hooks/bigquery.py": ("_HINTS",),
    "provider/reconciler/end_causes.py": ("TIMED_OUT_REASON", "DELETED_REASON"),
    "provider/metadata/states.py": ("WORKFLOW_DISABLED", "WORKFLOW_FULL"),
}
#: What no person meets: mistakes of programmers.
FOR_PROGRAMMERS = ("a timestamp without a zone cannot be stored",)
#: The emulators speak the vendors' errors to those who develop; a person who starts them meets these two alone.
OF_EMULATORS = frozenset({"ConfigurationError", "AcceleratorError"})


@dataclass(frozen=True, order=True)
class Message:
    """One message, and where it is made."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text.replace(HOLE, '…')}"


def error_names() -> frozenset[str]:
    """Return the names of all exceptions of the product; their modules are imported for it."""
    found = {"AcceleratorError"}
    for package in ("provider.hooks", "provider.metadata", "dag_factory"):
        root: ModuleType = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if "migrations" not in module.name:
                importlib.import_module(module.name)
    waiting = [AcceleratorError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            found.add(kind.__name__)
            waiting.append(kind)
    return frozenset(found)


class Module:
    """One file, and the messages in it."""

    def __init__(self, path: Path) -> None:
        self.file = path.relative_to(ROOT).as_posix()
        self._tree = ast.parse(path.read_text(encoding="utf-8"))
        self._functions = [node for node in ast.walk(self._tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        self._constants: dict[str, ast.expr] = {}
        for node in self._tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._constants[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self._constants[node.target.id] = node.value

    def messages(self, names: frozenset[str]) -> Iterator[Message]:
        """Yield the messages of every error that is made here."""
        if self.file.startswith("provider/emulators/"):
            names &= OF_EMULATORS
        for scope in [*self._functions, self._tree]:
            for node in ast.walk(scope):
                for value in self._values(node, names):
                    for text in self._texts(value, scope):
                        yield Message(self.file, value.lineno, text)
        for name in TABLES.get(self.file, ()):
            for text in self._texts(self._constants[name], self._tree):
                yield Message(self.file, self._constants[name].lineno, text)

    def _values(self, node: ast.AST, names: frozenset[str]) -> Iterator[ast.expr]:
        """Yield what is a message in a node."""
        if isinstance(node, ast.Call):
            yield from _message_arguments(node, names)
        elif isinstance(node, ast.Yield | ast.YieldFrom) and self.file.startswith("dag_factory/"):
            if node.value is not None and not isinstance(node.value, ast.Tuple):
                yield node.value  # the checks yield what is wrong
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("_describe"):
            yield from returns(node)

    def _texts(self, value: ast.expr, scope: ast.AST, depth: int = 0) -> Iterator[str]:
        """Yield the texts that an expression can be, or that it is joined of; not those that are put into one."""
        match value:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=parts):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in parts)
            case _ if depth < DEPTH:
                for item in self._inner(value, scope):
                    yield from self._texts(item, scope, depth + 1)

    def _inner(self, value: ast.expr, scope: ast.AST) -> list[ast.expr]:
        """Return the expressions that an expression can be, or is joined of."""
        match value:
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.BoolOp(values=items) | ast.Dict(values=items):
                return items
            case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, right=other):
                return [one, other]
            case ast.Starred(value=one) | ast.Call(func=ast.Attribute(attr="join"), args=[one]):
                return [one]
            case ast.GeneratorExp(elt=one, generators=[loop, *_]) | ast.ListComp(elt=one, generators=[loop, *_]):
                return [loop.iter if isinstance(one, ast.Name) else one]
            case ast.Name(id=name):
                return [self._constants[name]] if name in self._constants else list(assigned(scope, name))
            case ast.Call(func=ast.Attribute(value=ast.JoinedStr() | ast.Constant() as one)):
                return [one]  # such as f"…".rstrip(".")
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return [item for function in self._functions if function.name == name for item in returns(function)]
        return []


def _message_arguments(call: ast.Call, names: frozenset[str]) -> list[ast.expr]:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name in ("Problem", "JobStatus", "_report"):
        return call.args[2:3]
    if name in ("add", "Outcome") and len(call.args) == 2:  # Parsed.add(place, message)
        return call.args[1:]
    if name == "_insert_ended":
        return call.args[3:4]
    return call.args[:1] if name in names else []


def assigned(scope: ast.AST, name: str) -> Iterator[ast.expr]:
    """Yield what a name is given in a function, or what is put into the list that it names."""
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield value
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                yield from (value for one, value in zip(targets, values, strict=True) if getattr(one, "id", "") == name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=target), attr="append" | "extend"), args=values) if target == name:
                yield from values


def returns(function: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value


def all_messages() -> list[Message]:
    """Return every failure message that says more than what is put in."""
    names = error_names() | FOREIGN
    files = [*(ROOT / "provider").rglob("*.py"), *(ROOT / "dag_factory").rglob("*.py")]
    found = {message for path in files if "migrations" not in path.parts for message in Module(path).messages(names)}
    once = {message.text: message for message in sorted(found, reverse=True)}
    return sorted(message for message in once.values() if _says_something(message.text))


def _says_something(text: str) -> bool:
    words = [word for word in text.replace(HOLE, " ").split() if sum(letter.isalpha() for letter in word) > 1]
    return len(words) >= 2 and not text.startswith(FOR_PROGRAMMERS)
