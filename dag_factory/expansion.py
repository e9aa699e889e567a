"""
One task with many instances: ``expand`` lists values, and ``item`` in a template of the configuration stands for one of them.

It is done before anything is checked, so the configuration of an instance is one like that of any other task.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import TemplateSyntaxError

from dag_factory.problems import in_words, suggestion
from dag_factory.sizes import MOST_CHARACTERS, measure
from dag_factory.templates import is_template, tokens
from provider.texts import cut, quoted

NAME = "item"
#: Instances of one task. Each costs a parse as much as a task does.
MOST_INSTANCES = 500
#: Longest label of an instance in Airflow, in characters.
_LONGEST_LABEL = 60

_Step = str | int


class ExpansionError(ValueError):
    """The configuration cannot be made for a value; the text says why."""


def check_items(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """
    Return what a task is expanded over.

    :raises ValueError: two instances would be the same.
    """
    written = Counter(json.dumps(item, sort_keys=True, default=str) for item in items)
    if double := next((item for item, count in written.items() if count > 1), None):
        raise ValueError(f"{quoted(double)} given more than once; keep one")
    return items


def expanded(config: Mapping[str, Any], items: Sequence[Any]) -> list[dict[str, Any]]:
    """
    Return the configuration of each instance.

    :param items: one for each instance.
    :raises ExpansionError: the configuration asks for what an item has not, or the items make no difference to it.
    """
    values, characters = measure(config)
    if (values + characters) * len(items) > MOST_CHARACTERS:
        raise ExpansionError(f"makes more than {MOST_CHARACTERS} characters of the config; list fewer values, or shorten it")
    made = []
    for index, item in enumerate(items):
        try:
            made.append(_filled(config, item))
        except ExpansionError as error:
            raise ExpansionError(f"[{index}]: {error}") from None
    if not any(one != config for one in made):
        raise ExpansionError(f"no text of the config has {{{{ {NAME} }}}}, so all instances would do the same; write it there")
    return made


def labels(items: Sequence[Any]) -> str:
    """Return the template by which Airflow shows an instance's value beside its number."""
    return f"{{{{ {_literal(list(map(_label, items)))}[ti.map_index] }}}}"


def _label(item: Any) -> str:
    values = item.values() if isinstance(item, dict) else [item]
    text = ", ".join(str(value) for value in values if not isinstance(value, dict | list))
    return cut(text.translate({ord(brace): None for brace in "{}"}), _LONGEST_LABEL)


def _filled(value: Any, item: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, item) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, item) for one in value]
    return _in_text(value, item) if isinstance(value, str) and is_template(value) else value


def _in_text(text: str, item: Any) -> Any:
    """Return a text with values in the place of ``item``; where it stands alone, the value itself, of whatever type."""
    try:
        parts = list(_parts(text))
    except TemplateSyntaxError:
        return text  # which is said by whoever checks templates
    said = [part for part in parts if not isinstance(part, str) or not part.isspace()]
    if len(said) == 3 and isinstance(said[1], list) and (said[0], said[2]) == ("{{", "}}"):
        return _value(item, said[1])
    return "".join(part if isinstance(part, str) else _literal(_value(item, part)) for part in parts)


def _parts(text: str) -> Iterator[str | list[_Step]]:
    """Yield a template in pieces: texts, and for each mention of ``item`` what is asked of it, step by step."""
    pieces, place, previous = tokens(text), 0, ""
    while place < len(pieces):
        kind, piece = pieces[place]
        place += 1
        if kind == "name" and piece == NAME and previous not in (".", "|"):
            steps = []
            while found := _step(pieces[place : place + 3]):
                steps.append(found[0])
                place += found[1]
            yield steps
        else:
            yield piece
        if kind != "whitespace":
            previous = piece


def _step(pieces: Sequence[tuple[str, str]]) -> tuple[_Step, int] | None:
    """Return what ``.name``, ``['name']`` or ``[0]`` asks for, and of how many pieces it is; None for anything else."""
    match pieces:
        case [("operator", "."), ("name", name), *_]:
            return name, 2
        case [("operator", "["), ("string", name), ("operator", "]")]:
            return name[1:-1], 3
        case [("operator", "["), ("integer", number), ("operator", "]")]:
            return int(number), 3
        case [("operator", "."), ("integer", number), *_]:
            return int(number), 2
    return None


def _value(item: Any, steps: Sequence[_Step]) -> Any:
    value, path = item, NAME
    for step in steps:
        if isinstance(value, dict):
            if step not in value:
                raise ExpansionError(f"has no {quoted(str(step))}; {suggestion(str(step), list(map(str, value)), f'{path} has')}")
            value = value[step]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            raise ExpansionError(f"{path} is {in_words(value)} and has no {quoted(str(step))}; take that out of the config")
        path = f"{path}.{step}"
    return value


def _literal(value: Any) -> str:
    """
    Return a value as an expression of Jinja's.

    :raises ExpansionError: it can only stand alone.
    """
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, int | float):
        return repr(value) if value >= 0 else f"(0 - {-value!r})"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, dict) or is_template(value):
        raise ExpansionError(f"{in_words(value)} can only be the whole of a text: {{{{ {NAME}.name }}}} with nothing beside it")
    # As Jinja reads it: ASCII, by Python's escapes.
    return "'" + str(value).encode("unicode_escape").decode("ascii").replace("'", "\\x27") + "'"
