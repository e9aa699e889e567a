"""
Jinja in the configuration of rows: a small part of the language, checked before Airflow renders it.

Rows are data. They may refer to a few values of their run, and nothing else: no calls, no attributes of Airflow's objects.
``batch_id``, ``batch_date``, ``task_id`` and ``workflow_id`` are our names; :func:`to_airflow` puts Airflow's in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment

from dag_factory.problems import suggestion
from provider.texts import one_line

__all__ = ["to_airflow"]

#: Filter of factory DAGs: a time → its day in the workflow's zone.
BATCH_DATE_FILTER = "batch_date"

AIRFLOW_NAMES = {
    "batch_id": "run_id",
    "batch_date": f"(dag_run.run_after | {BATCH_DATE_FILTER})",
    "task_id": "ti.task_id",
    "workflow_id": "dag.dag_id",
}
NAMES = frozenset({"params", *AIRFLOW_NAMES})
FILTERS = frozenset(
    {
        *("abs", "d", "default", "first", "float", "int", "join", "last", "length", "lower", "replace", "round"),
        *("string", "title", "tojson", "trim", "upper", "urlencode"),
    }
)
TESTS = frozenset({"defined", "none", "eq", "ne", "in"})
#: Kinds of nodes of Jinja's syntax tree that a template may have; everything else, such as a call or a loop, is refused.
NODES = frozenset(
    {
        *("Template", "Output", "TemplateData", "Name", "Const", "Getattr", "Getitem", "Filter", "Test", "CondExpr"),
        *("Compare", "Operand", "And", "Or", "Not", "Concat", "Add", "Sub", "List"),
    }
)

#: Filters whose result may be many times as long as what they are given, and how many of them may be applied to one another: one
#: after the other they grow as a power.
_GROWING, _MOST_GROWING = frozenset({"join", "replace", "tojson", "urlencode"}), 3
#: Deepest syntax tree: Python compiles a template with the same depth of parentheses, and takes 200.
_DEEPEST = 60
#: Longest condition, in characters.
_LONGEST_CONDITION = 2000

#: What makes a template of an expression.
_BRACES = ("{{ ", " }}")

#: Names of Airflow that only runs with a logical date have begin so.
DATES = ("ds", "ts", "data_interval", "logical_date", "execution_date", "prev_", "next_", "yesterday_", "tomorrow_")


def default(value: Any, fallback: Any = "", falsy_too: bool = False) -> Any:
    """Return a fallback for what is missing, as Jinja's filter does, and for null, which is what a param without a value is."""
    missing = value is None or isinstance(value, Undefined)
    return fallback if missing or (falsy_too and not value) else value


#: Filters of factory DAGs that stand for Jinja's own.
OWN_FILTERS: dict[str, Callable[..., Any]] = {"default": default, "d": default}


def is_template(value: str) -> bool:
    """Tell whether Jinja would change this text."""
    return "{" in value and any(mark in value for mark in ("{{", "{%", "{#"))


def contains_template(value: Any) -> bool:
    """Tell whether any text in a JSON value is a template."""
    if isinstance(value, dict):
        return any(contains_template(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return any(contains_template(item) for item in value)
    return isinstance(value, str) and is_template(value)


def check_config(config: dict[str, Any], templated: Collection[str], params: Collection[str]) -> Iterator[str]:
    """
    Check the templates in a task's configuration; yield what is wrong.

    :param templated: keys of the configuration that are rendered.
    :param params: names of the workflow's parameters.
    """
    for key, value in config.items():
        for path, text, renders in _texts(value, f"config.{key}", renders=key in templated):
            if not is_template(text):
                continue
            if not renders:
                yield f"{path}: cannot hold a template; write a plain value"
            else:
                yield from (f"{path}: {message}" for message in check(text, params))


def check(source: str, params: Collection[str]) -> list[str]:
    """
    Check one template; return what is wrong with it.

    :param params: names of the workflow's parameters.
    """
    problems, used = _analyse(source)
    undeclared = [
        f"params.{name} is not declared; {suggestion(name, params, 'params of the workflow are')}"
        for name in used
        if name not in params
    ]
    return [*problems, *undeclared]


def check_condition(source: str, params: Collection[str]) -> list[str]:
    """
    Check an expression without braces, such as ``params.region == 'EU'``; return what is wrong with it.

    :param params: names of the workflow's parameters.
    """
    if len(source) > _LONGEST_CONDITION:
        return [f"has {len(source)} characters, and {_LONGEST_CONDITION} are allowed; write a shorter one"]
    # It is never compiled here: that works out what is constant, however long it takes.
    try:
        parser = Parser(_environment(), source, state="variable")
        parser.parse_expression()
        if not parser.stream.eos:
            raise TemplateSyntaxError("chunk after expression", parser.stream.current.lineno)
    except (TemplateError, RecursionError) as error:
        reason = error.message if isinstance(error, TemplateError) else error  # without the line, of which there is one
        return [f"not a condition such as params.region == 'EU': {one_line(reason or error, 200)}"]
    return check(_BRACES[0] + source + _BRACES[1], params)


def condition_to_airflow(source: str) -> str:
    """Return such an expression with our names in it replaced by Airflow's."""
    return _rewrite(_BRACES[0] + source + _BRACES[1])[len(_BRACES[0]) : -len(_BRACES[1])]


@lru_cache(maxsize=4096)
def _analyse(source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is wrong with a template whatever the workflow, and the params that it cannot do without."""
    try:
        tree = _environment().parse(source)
        if _depth(tree) > _DEEPEST:
            return (f"is nested deeper than {_DEEPEST} levels in a template; write a shorter one",), ()
        found = list(_check_node(tree, may_be_missing=False))
    except (TemplateError, RecursionError) as error:
        return (f"not a Jinja template: {one_line(error, 200)}",), ()
    problems = dict.fromkeys(item for item in found if not isinstance(item, _Param))
    return tuple(problems), tuple(dict.fromkeys(item.name for item in found if isinstance(item, _Param)))


@dataclass(frozen=True)
class _Param:
    """A param that a template uses without a default."""

    name: str


def to_airflow(value: Any) -> Any:
    """Return a JSON value with our names in its templates replaced by Airflow's."""
    if isinstance(value, dict):
        return {key: to_airflow(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_airflow(item) for item in value]
    return _rewrite(value) if isinstance(value, str) and is_template(value) else value


@lru_cache(maxsize=4096)
def tokens(source: str) -> tuple[tuple[str, str], ...]:
    """
    Return the pieces of a template, kind and text, of which it consists without a gap.

    :raises TemplateSyntaxError: it is none.
    """
    return tuple((kind, text) for _, kind, text in _environment().lex(source))


@lru_cache(maxsize=4096)
def _rewrite(source: str) -> str:
    written, previous = [], ""
    for kind, text in tokens(source):
        name = AIRFLOW_NAMES.get(text) if kind == "name" and previous not in (".", "|") else None
        written.append(name or text)
        if kind != "whitespace":
            previous = text
    return "".join(written)


def _texts(value: Any, path: str, *, renders: bool) -> Iterator[tuple[str, str, bool]]:
    """Yield every text in a JSON value: where it is, the text, and whether Airflow renders it (keys it does not)."""
    if isinstance(value, str):
        yield path, value, renders
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str):
                yield f"{path} (a key of it)", key, False
            yield from _texts(item, f"{path}.{key}", renders=renders)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]", renders=renders)


def _depth(tree: nodes.Node) -> int:
    """Return how deep a syntax tree is, whatever its depth; it is left where that is too much."""
    depth, level = 0, [tree]
    while level and depth <= _DEEPEST:
        depth, level = depth + 1, [child for node in level for child in node.iter_child_nodes()]
    return depth


def _check_node(node: nodes.Node, *, may_be_missing: bool) -> Iterator[str | _Param]:
    kind = type(node).__name__
    if kind not in NODES:
        yield f"{kind.lower()} is not allowed in a template; use {', '.join(sorted(NAMES))} and filters"
        return
    if isinstance(node, nodes.Name):
        yield from _check_name(node.name)
        return
    if isinstance(node, nodes.Getattr | nodes.Getitem):
        yield from _check_access(node, may_be_missing=may_be_missing)
        return
    forgiven: object = None
    if isinstance(node, nodes.Filter | nodes.Test):
        yield from _check_filter(node)
        # Only what stands right before default may be missing: whatever else is done with it fails before default is asked.
        forgiven = node.node if node.name in ("default", "d", "defined") else None
    for child in node.iter_child_nodes(exclude=("kwargs",)):
        yield from _check_node(child, may_be_missing=child is forgiven)


def _check_name(name: str) -> Iterator[str]:
    if name == "params":
        yield "params needs the name of a parameter: params.<name>"
    elif name.startswith(DATES):
        yield f"{name} is not set in a run that a message started; use batch_date"
    elif name not in NAMES:
        yield f"{name} is not known; {suggestion(name, NAMES, 'a template may use')}"


def _check_access(node: nodes.Getattr | nodes.Getitem, *, may_be_missing: bool) -> Iterator[str | _Param]:
    key: Any = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
    if isinstance(key, bool) or not isinstance(key, str | int):
        yield "an item must be named by a plain text or number in a template"
    elif isinstance(key, str) and key.startswith("_"):
        yield f"{key}: names that start with '_' are not allowed in a template"
    elif isinstance(key, str) and hasattr(dict, key) and (isinstance(node, nodes.Getattr) or isinstance(node.node, nodes.Name)):
        remedy = "no param has that name" if isinstance(node.node, nodes.Name) else f"write ['{key}'] for an item of that name"
        yield f"{key} is what every object can do in a template; {remedy}"
    elif not isinstance(node.node, nodes.Name):
        yield from _check_node(node.node, may_be_missing=False)
    elif node.node.name != "params":
        yield from list(_check_name(node.node.name)) or [f"{node.node.name} is a text and has no item {key}"]
    elif not may_be_missing:
        yield _Param(str(key))


def _check_filter(node: nodes.Filter | nodes.Test) -> Iterator[str]:
    what, known = ("filter", FILTERS) if isinstance(node, nodes.Filter) else ("test", TESTS)
    if node.name not in known:
        yield f"{what} {node.name} is not allowed; {suggestion(node.name, known, f'{what}s are')}"
    if node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
        yield f"{what} {node.name}: give its arguments by position"
    elif problem := _growth(node):
        yield f"{what} {node.name}: {problem}"


def _growth(node: nodes.Filter | nodes.Test) -> str:
    """Return why a filter could take all time or memory of the task that applies it; empty where it could not."""
    values = [argument.value if isinstance(argument, nodes.Const) else None for argument in node.args]
    if node.name == "round" and (len(values) > 1 or any(type(value) is not int or not 0 <= value <= 15 for value in values)):
        return "takes a whole number from 0 to 15 alone"
    if node.name == "tojson" and values:
        return "takes no argument"
    if node.name == "join" and (len(values) > 1 or not all(isinstance(value, str) for value in values)):
        return "takes a plain text alone"
    if node.name == "replace" and not (len(values) == 2 and all(isinstance(value, str) for value in values) and values[0]):
        return "takes two plain texts, of which the first is not empty"
    if node.name in _GROWING and sum(one.name in _GROWING for one in node.find_all(nodes.Filter)) >= _MOST_GROWING:
        return f"{', '.join(sorted(_GROWING))} may be applied {_MOST_GROWING} times to one value"
    return ""


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(keep_trailing_newline=True)
