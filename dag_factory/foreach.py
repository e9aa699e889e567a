"""
Many workflows from one entry of a file: ``foreach`` lists values, and ``${name}`` stands for one of them in every text.

It is done when the file is read. The tables get the workflows that come of it, and know nothing of the list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from dag_factory.problems import in_words, shorten, suggestion
from provider.strict_yaml import Places

KEY = "foreach"
#: Workflows that one entry makes, and characters of all of them together.
MOST = 1000
MOST_CHARACTERS = 50_000_000

#: ``${name}``; ``$${name}`` is the text ``${name}``.
_PLACEHOLDER = re.compile(r"\$(\$?)\{(\w+)\}", re.ASCII)


class _MissingError(Exception):
    """A placeholder has no value."""


def expanded(entry: Mapping[str, Any], places: Places, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """
    Return the entries that one with ``foreach`` stands for.

    :param places: gets the places of what is made: those of what it is made of.
    :param tell: is called with what is wrong with the list, of which nothing is made then.
    """
    values = entry[KEY]
    if not isinstance(values, list) or not values:
        tell(f'foreach: must be a list of objects such as {{"country": "de"}}, not {in_words(values) if values else "empty"}')
        return []
    body = {key: value for key, value in entry.items() if key != KEY}
    places.copy(entry, body)
    if len(values) > MOST or len(values) * len(json.dumps(body, default=str)) > MOST_CHARACTERS:
        tell(f"foreach: makes more than {MOST} workflows, or more than {MOST_CHARACTERS} characters of them; split the file")
        return []
    made = []
    for index, given in enumerate(values):
        if not isinstance(given, dict):
            tell(f"foreach[{index}]: must be an object, not {in_words(given)}")
            return []
        try:
            made.append(_filled(body, given, places))
        except _MissingError as error:
            name = str(error)
            tell(f"foreach[{index}]: has no value for ${{{shorten(name)}}}; {suggestion(name, list(map(str, given)), 'it has')}")
            return []
    return made


def _filled(value: Any, given: Mapping[str, Any], places: Places) -> Any:
    if isinstance(value, dict):
        made = {_in_text(key, given): _filled(item, given, places) for key, item in value.items()}
        places.copy(value, made)
        return made
    if isinstance(value, list):
        return [_filled(item, given, places) for item in value]
    if not isinstance(value, str):
        return value
    if (whole := _PLACEHOLDER.fullmatch(value)) and not whole[1]:
        return _value(whole[2], given)  # of whatever type
    return _in_text(value, given)


def _in_text(text: Any, given: Mapping[str, Any]) -> Any:
    """Return a text with values in the place of its placeholders; a key that is no text is told by whoever checks the rows."""
    if not isinstance(text, str):
        return text
    return _PLACEHOLDER.sub(lambda match: match[0][1:] if match[1] else str(_value(match[2], given)), text)


def _value(name: str, given: Mapping[str, Any]) -> Any:
    if name not in given:
        raise _MissingError(name)
    return given[name]
