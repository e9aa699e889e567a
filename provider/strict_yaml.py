"""
YAML that is safe to load: by the rules of YAML 1.2's core schema, without tags, and of a size that is known beforehand.

The words mean what they mean in JSON: ``no`` and ``2026-01-01`` are texts. Tags are refused, as they name code. Anchors,
aliases and merge keys (``<<``) may be used, within bounds: ten lines of them can stand for a billion values. A key that is
given twice is refused, since one of the two would be lost without a sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

#: Deepest nesting of lists and maps, aliases written out.
MAX_DEPTH = 50

#: Largest number of values, aliases written out.
MAX_NODES = 2_000_000

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "<<"

_CORE_SCHEMA = {
    "null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    # 010 is ten to some and eight to others, so it stays a text.
    "int": (r"^[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    "float": (
        r"^[-+]?(?:(?:0|[1-9][0-9]*)?\.[0-9]+|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
        list("-+.0123456789"),
    ),
}
_NO_TEXT = re.compile("|".join(f"(?:{pattern})" for pattern, _ in _CORE_SCHEMA.values()))


class _Loader(_BaseLoader):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own form


class Places:
    """Where the keys of maps stand in a text, by the maps themselves: they are plain data, and stay so."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[Any, dict[str, tuple[int, int]]]] = {}

    def note(self, data: Mapping[str, Any], node: Any) -> None:
        """Note the places of the keys of a map, which is kept: its address names it."""
        self._of[id(data)] = data, {key.value: (key.start_mark.line + 1, key.start_mark.column + 1) for key, _ in node.value}

    def copy(self, data: Mapping[str, Any], to: Mapping[str, Any]) -> None:
        """Note that a map was made of another one, and is to be looked for at its place."""
        if id(data) in self._of:
            self._of[id(to)] = to, self._of[id(data)][1]

    def of(self, data: Mapping[str, Any], key: str | None = None) -> tuple[int, int] | None:
        """Return line and column, both from 1, of a key of a map, or of its first one; None where that is not known."""
        _, places = self._of.get(id(data), (None, {}))
        return places.get(key) if key is not None else min(places.values(), default=None)


class _PlacingLoader(_Loader):
    places: Places

    def construct_placed_map(self, node: Any) -> Iterator[dict[str, Any]]:
        data: dict[str, Any] = {}
        self.places.note(data, node)
        yield data  # what is in it may refer to it
        data.update(self.construct_mapping(node))


_PlacingLoader.add_constructor("tag:yaml.org,2002:map", _PlacingLoader.construct_placed_map)


class _Dumper(yaml.SafeDumper):
    """Quotes what any YAML reader could take for something else than a text: by YAML 1.1 and by our own rules."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def represent_text(self, text: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)
for _name, (_pattern, _first) in _CORE_SCHEMA.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), _first)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(f"^{_MERGE}$"), ["<"])


def load(text: str, places: Places | None = None) -> Any:
    """
    Return the one document in a text as plain data.

    :param places: gets the places of all keys.
    :raises yaml.YAMLError: it is not YAML, or it is YAML that is refused here.
    :raises ValueError: a number with thousands of digits.
    """
    guard = _Guard()
    for event in yaml.parse(text, Loader=_BaseLoader):
        guard.check(event)
    loader = _Loader(text) if places is None else _PlacingLoader(text)
    loader.places = places
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def dump(data: Any) -> str:
    """Return YAML that :func:`load` reads back as the same data."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


@dataclass
class _Collection:
    """A list or map whose end has not come yet; size and height are those of what is in it so far."""

    anchor: str | None
    is_map: bool
    size: int = 1
    height: int = 0
    children: int = 0
    keys: set[str] = field(default_factory=set)


class _Guard:
    """Follows the parser's events, which cost the same however much the aliases in them stand for."""

    def __init__(self) -> None:
        self._open: list[_Collection] = []
        self._anchors: dict[str, tuple[int, int]] = {}

    def check(self, event: Any) -> None:
        """
        Take note of one event.

        :raises yaml.MarkedYAMLError: the document is refused, with the place.
        """
        if isinstance(event, yaml.CollectionEndEvent):
            ended = self._open.pop()
            self._add(event, ended.anchor, ended.size, ended.height)
        elif isinstance(event, yaml.NodeEvent):
            self._check_node(event)

    def _check_node(self, event: Any) -> None:
        if tag := getattr(event, "tag", None):
            raise _refusal(event, f"the tag {tag} is not supported; remove it")
        parent = self._open[-1] if self._open else None
        if parent is not None:
            if parent.is_map and parent.children % 2 == 0:
                self._check_key(event, parent.keys)
            parent.children += 1
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append(_Collection(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            self._check_bounds(event, height=0, size=1)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _refusal(event, f"nothing before this place has the anchor &{event.anchor}")
            self._add(event, None, *self._anchors[event.anchor])
        else:
            self._add(event, event.anchor, size=1, height=0)

    def _check_key(self, event: Any, keys: set[str]) -> None:
        # Quoted, every word is a text.
        if not isinstance(event, yaml.ScalarEvent) or (event.implicit[0] and _NO_TEXT.match(event.value)):
            raise _refusal(event, "a key must be a text; put it in quotes")
        if event.value in keys:
            raise _refusal(event, f'the key "{event.value}" is given twice; keep one')
        keys.add(event.value)

    def _add(self, event: Any, anchor: str | None, size: int, height: int) -> None:
        """Add a whole node to the collection it is in."""
        if anchor is not None:
            self._anchors[anchor] = size, height
        if self._open:
            parent = self._open[-1]
            parent.size += size
            parent.height = max(parent.height, height + 1)
            self._check_bounds(event, height, parent.size)

    def _check_bounds(self, event: Any, height: int, size: int) -> None:
        if len(self._open) + height > MAX_DEPTH:
            raise _refusal(event, f"nested more than {MAX_DEPTH} deep; flatten it")
        if size > MAX_NODES:
            raise _refusal(event, f"more than {MAX_NODES} values, with aliases written out; split the file")


def _refusal(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
