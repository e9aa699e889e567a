"""
Plain data from a YAML or JSON file that a person, or anybody, may have written.

YAML is read by the rules of YAML 1.2's core schema, so that the same words mean the same as in JSON: ``no`` and
``2026-01-01`` are strings. Tags, aliases and repeated keys are refused: they can run code, expand without bound, and hide a
value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from provider.exceptions import DefinitionError

MAX_BYTES = 10_000_000
"""Largest file that is read: about 30,000 tasks."""

MAX_DEPTH = 50
"""Deepest nesting of lists and maps."""

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CORE_SCHEMA = (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    # 010 is ten to some and eight to others, so it stays a string.
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:(?:0|[1-9][0-9]*)?\.[0-9]+|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
)


class _Loader(_BaseLoader):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own form

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str) or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f'the key "{key}" is given twice', problem_mark=key_node.start_mark)
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


class _Dumper(yaml.SafeDumper):
    """Quotes what any YAML reader could take for something else than a string: by YAML 1.1 and by our own rules."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def represent_text(self, text: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)
for _name, _pattern, _first in _CORE_SCHEMA:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), _first)


def read_file(path: Path) -> Any:
    """
    Return the content of a file: JSON where its name ends with ``.json``, else YAML.

    :raises DefinitionError: naming the file, and line and column where it has a wrong one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DefinitionError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise DefinitionError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB; split it into several files.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DefinitionError(f"{path}, line {line}: not UTF-8; save the file in that encoding.") from error
    return _parse_json(text, path) if path.suffix.lower() == ".json" else _parse_yaml(text, path)


def dump_yaml(data: Any) -> str:
    """Return YAML that :func:`read_file` reads back as the same data."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def _parse_yaml(text: str, path: Path) -> Any:
    try:
        _refuse_aliases_and_tags(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, made stricter
    except yaml.reader.ReaderError as error:
        raise DefinitionError(f"{path}: {error.reason} (character {error.position}); remove the character.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise DefinitionError(f"{path}{where}: {error.problem or error.context}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DefinitionError(f"{path} is not YAML: {error}.") from error


def _refuse_aliases_and_tags(text: str) -> None:
    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=_BaseLoader):
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases (*name) are not supported, since a few can stand for millions of rows; write the value out"
        elif getattr(event, "tag", None):
            problem = f"the tag {event.tag} is not supported; remove it"
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            problem = f"nested more than {MAX_DEPTH} deep; flatten it" if depth > MAX_DEPTH else None
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _parse_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise DefinitionError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except RecursionError as error:
        raise DefinitionError(f"{path}: nested too deep; flatten it.") from error
    except ValueError as error:
        raise DefinitionError(f"{path}: {error}.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f'the key "{key}" is given twice')
        result[key] = value
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number that JSON knows")
