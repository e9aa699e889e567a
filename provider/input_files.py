"""Reading a YAML or JSON file that a person, or anybody, may have written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from provider import strict_yaml
from provider.exceptions import DefinitionError
from provider.plain_data import parse_json

#: Largest file that is read: about 30,000 tasks.
MAX_BYTES = 10_000_000

_STDIN = Path("standard input")

_INDENTATION = "look at the indentation of this line and the one above"

#: What a parser says of YAML, and what to do about it.
_REMEDIES = {
    "found character that cannot start any token": "indent with spaces and not with tabs, and put a text that begins with a mark "
    "in quotes",
    "did not find expected alphabetic or numeric character": "put a text that begins with * or & in quotes",
    "mapping values are not allowed in this context": "put a text with a colon in quotes, and look at the indentation",
    "could not find expected ':'": "write key: value",
    "did not find expected key": "look at the indentation, and at quotes that are not closed",
    "did not find expected '-' indicator": _INDENTATION,
    "did not find expected <document start>": _INDENTATION,
}


def read_file(path: Path, places: strict_yaml.Places | None = None) -> Any:
    """
    Return the content of a file: JSON where its name ends with ``.json``, else YAML.

    :param path: ``-`` is standard input, as YAML; JSON is YAML as well.
    :param places: gets the places of the keys of YAML.
    :raises DefinitionError: naming the file, and line and column where it has a wrong one.
    """
    if str(path) == "-":
        path, content = _STDIN, sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
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
    return _parse_json(text, path) if path.suffix.lower() == ".json" else _parse_yaml(text, path, places)


def _parse_yaml(text: str, path: Path, places: strict_yaml.Places | None) -> Any:
    try:
        return strict_yaml.load(text, places)
    except yaml.reader.ReaderError as error:
        raise DefinitionError(f"{path}: {error.reason} (character {error.position}); remove the character.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        said = str(error.problem or error.context)
        remedy = f"; {_REMEDIES[said]}" if said in _REMEDIES else ""
        raise DefinitionError(f"{path}{where}: {said}{remedy}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DefinitionError(f"{path} is not YAML: {error}.") from error


def _parse_json(text: str, path: Path) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise DefinitionError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except RecursionError as error:
        raise DefinitionError(f"{path}: nested too deep; flatten it.") from error
    except ValueError as error:
        raise DefinitionError(f"{path}: {error}.") from error
