"""What is wrong with the rows, in words for the person who wrote them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from provider.exceptions import DefinitionError
from provider.plain_data import bytes_in
from provider.texts import counted, one_line, quoted

#: Most problems that one error lists. Airflow stores its text at every parse, and nobody reads two thousand lines.
MAX_LISTED = 50

#: What every error of :func:`raise_problems` says.
IN_DEFINITIONS = "in the workflow definitions."

#: Most names that one message lists, and the longest name that is compared with others.
MAX_NAMES = 30
_MAX_COMPARED = 100

#: Most searches for a near name while one set of rows is checked; one among all time zones takes milliseconds.
MAX_SEARCHES = 30

#: So many tasks at each end of a long cycle are named.
_ENDS_OF_CYCLE = 5

_searches: ContextVar[dict[tuple[str, tuple[str, ...]], str | None] | None] = ContextVar("searches", default=None)

_KINDS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}


@dataclass(frozen=True, order=True)
class Problem:
    """
    One mistake in one row.

    :param workflow_id: the workflow that cannot be used because of it; empty where none can be told.
    :param row: the row, as ``<table> row <key>``; or what else is wrong, such as the database.
    :param message: what is wrong and what to do.
    """

    workflow_id: str
    row: str
    message: str

    def __str__(self) -> str:
        return f"{self.row}: {self.message}"


def row_name(table: str, column: str, key: Any) -> str:
    """Return how problems name a row by its key."""
    if not key:
        return f"{table} row (without {column})"
    return f"{table} row {shorten(key) or f'(with a {column} that cannot be shown)'}"


def edge_name(parent: Any, child: Any) -> str:
    """Return how problems name an edge."""
    return f"task_dependencies row {shorten(parent)} → {shorten(child)}"


def unchecked(workflow_id: str, error: Exception, origin: str = "") -> Problem:
    """Return the problem of a workflow whose rows the checks themselves fail on."""
    text = f"cannot be checked: {type(error).__name__}: {shorten(error, 300)}; simplify its rows"
    return Problem(workflow_id, f"{row_name('workflows', 'workflow_id', workflow_id)}{origin}", text)


def raise_problems(problems: Iterable[Problem], consequence: str) -> None:
    """
    Raise one error that lists every problem on a line of its own; do nothing where there is none.

    The text depends on nothing but the problems, so that Airflow sees the same error at every parse.

    :param consequence: one sentence on what the problems mean for the DAGs.
    :raises DefinitionError: there are problems.
    """
    lines = sorted({str(problem) for problem in problems})
    if lines:
        listed = lines[:MAX_LISTED]
        if more := len(lines) - len(listed):
            listed.append(f"{more} more, which `accelerator validate` lists")
        raise DefinitionError("\n- ".join([f"{counted(len(lines), 'problem')} {IN_DEFINITIONS} {consequence}", *listed]))


@contextmanager
def searches_bounded() -> Iterator[None]:
    """
    Bound what is spent on near names within a ``with``: each name is searched once, :data:`MAX_SEARCHES` of them in all.

    The bound counts names and not time, so that the same rows give the same messages each time. An outer one holds for all
    that is inside it.
    """
    if _searches.get() is not None:
        yield
        return
    token = _searches.set({})
    try:
        yield
    finally:
        _searches.reset(token)


def nearest(name: str, known: Collection[str]) -> str | None:
    """
    Return the known name that is most like another one; None where none is, or no more are searched for.

    :param known: best a sorted tuple where they are many.
    """
    if len(name) > _MAX_COMPARED:
        return None
    names = known if isinstance(known, tuple) else tuple(sorted(known))
    found = _searches.get()
    if found is None:
        return _search(name, names)
    if (name, names) not in found:
        found[name, names] = _search(name, names) if len(found) < MAX_SEARCHES else None
    return found[name, names]


def _search(name: str, names: tuple[str, ...]) -> str | None:
    import difflib  # most processes find nothing wrong

    return next(iter(difflib.get_close_matches(name, names, n=1)), None)


def suggestion(name: str, known: Collection[str], what: str) -> str:
    """Return ``did you mean …?`` with the nearest known name, and the list of what is known."""
    names = tuple(sorted(known))
    close = nearest(name, names)
    hint = f"did you mean {close}? " if close else ""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{hint}{what}: {', '.join(names[:MAX_NAMES]) or 'none'}{more}"


def other_key(name: str, known: Collection[str], other_names: Mapping[str, str]) -> str:
    """
    Return what somebody may have meant by a key that is not known.

    :param other_names: what other systems call a key → what it is called here.
    """
    meant = other_names.get(name)
    return f"did you mean {meant}?" if meant is not None else suggestion(name, known, "known keys are")


def describe(
    error: ValidationError, model: type[BaseModel], prefix: str = "", other_names: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """
    Turn pydantic's errors into sentences such as ``config.project_id: missing``.

    :param model: the model that refused the data; its fields are what unknown keys are compared to.
    :param prefix: where in the row the data is, such as ``config``.
    :param other_names: what other systems call a key of the model → what it is called here.
    """
    items = error.errors(include_url=False)
    # A list without its wrong items is called too short as well.
    beneath = {item["loc"][:length] for item in items for length in range(len(item["loc"]))}
    told = [item for item in items if item["type"] != "too_short" or item["loc"] not in beneath]
    return [_describe(item, model, prefix, other_names) for item in told]


def _describe(item: ErrorDetails, model: type[BaseModel], prefix: str, other_names: Mapping[str, str]) -> str:
    where = _path([prefix, *item["loc"]] if prefix else list(item["loc"])) or "row"
    kind, context = item["type"], item.get("ctx", {})
    if kind == "missing":
        return f"{where}: missing; add it"
    if kind == "extra_forbidden":
        *above, key = item["loc"]
        return f"{where}: unknown key; {other_key(str(key), _fields_at(model, above), {} if above else other_names)}"
    if kind == "value_error":
        text = str(context.get("error", item["msg"]))
        return text if where == "row" else f"{where}: {text}"
    if kind == "literal_error":
        return f"{where}: must be one of {context['expected'].replace(' or ', ', ')}, not {in_words(item['input'])}"
    if kind in _KINDS and where == "row":
        return f"{_KINDS[kind]}, not {in_words(item['input'])}"
    if kind in _KINDS:
        return f"{where}: {_KINDS[kind]}, not {in_words(item['input'])}"
    text = item["msg"].replace("Input should be", "must be").replace("Input should", "must")
    return f"{where}: {text[:1].lower()}{text[1:]}, not {in_words(item['input'])}"


def _path(parts: list[Any]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{shorten(part)}" if text else shorten(part)
    return text


def _fields_at(model: type[BaseModel], loc: Iterable[int | str]) -> list[str]:
    """Return the keys that the model at this place knows."""
    for part in loc:
        field = model.model_fields.get(str(part))
        nested = _model_in(field.annotation) if field is not None else None
        if nested is not None:
            model = nested
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in getattr(annotation, "__args__", ()) if (found := _model_in(part)) is not None), None)


def in_words(value: object) -> str:
    """Return a value of a row for a message to people: a text or a number as it is, others by their kind only."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return quoted(value)
    return {"dict": "an object", "list": "a list", "tuple": "a list"}.get(type(value).__name__, f"a {type(value).__name__}")


def shorten(value: object, limit: int = 80) -> str:
    """Return the text of a value on one line, with a mark where it is cut; bytes as SQL writes them."""
    text = one_line(bytes_in(value) or value, limit + 1)
    return text if len(text) <= limit else f"{text[:limit]}…"


def way_around(cycle: list[str]) -> str:
    """Return a cycle as ``a → b → a``; of a long one, its ends."""
    names = [shorten(task_id, 60) for task_id in cycle]
    if (left_out := len(names) - 2 * _ENDS_OF_CYCLE) > 0:
        names[_ENDS_OF_CYCLE:-_ENDS_OF_CYCLE] = [f"… {left_out} more …"]
    return " → ".join(names)
