"""
Data of strangers, as JSON has it: read without surprises, and nothing in it that cannot be held later. No Airflow.

Messages, rows and files all pass through here; each says in its own words what is wrong, so these functions only tell where
and what it is.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum, auto
from typing import Any, NoReturn

#: A number has fewer digits, and none has so many zeros. A float of 64 bits has up to 309.
_LONGEST_NUMBER = 400


#: What a text begins with that stands for bytes: half of a surrogate pair, so that no check of rows lets it pass.
_OF_BYTES = "\udc00"


class RepeatedKeyError(ValueError):
    """An object has a key twice, and which one is meant cannot be told."""

    def __init__(self, key: str) -> None:
        super().__init__(f'the key "{key}" is given twice')
        self.key = key


class ConstantError(ValueError):
    """A word such as ``NaN`` stands where a value should, which Python's parser takes and JSON does not know."""

    def __init__(self, word: str) -> None:
        super().__init__(f"{word} is not a number that JSON knows")
        self.word = word


def parse_json(text: str) -> Any:
    """
    Return what a JSON text says.

    :raises RepeatedKeyError: an object has a key twice.
    :raises ConstantError: ``NaN`` or ``Infinity``.
    :raises json.JSONDecodeError: anything else that is no JSON.
    :raises ValueError: a number with thousands of digits; the three above are of this type, too.
    :raises RecursionError: nested deeper than the parser goes.
    """
    return _DECODER.decode(text)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise RepeatedKeyError(next(key for key, count in counts.items() if count > 1))
    return document


def _refuse_constant(word: str) -> NoReturn:
    raise ConstantError(word)


#: Made once: a parse reads thousands of short texts.
_DECODER = json.JSONDecoder(object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)


def as_list(value: Any) -> Any:
    """Return a list of one for a single text or object, which iterating would take apart; everything else as it is."""
    return [value] if isinstance(value, str | Mapping) else value


def leaves(value: Any) -> Iterator[Any]:
    """Yield what a JSON value is made of: its texts, numbers, booleans and nulls, without the keys of objects."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        yield value
        return
    for one in value:
        yield from leaves(one)


def texts_among(value: Any) -> list[str]:
    """Return the texts of a JSON list, or of a single text; of anything else there are none."""
    found = as_list(value)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def objects_among(value: Any, most: int) -> list[dict[str, Any]]:
    """Return the objects among the first items of a JSON list; of anything else there are none."""
    return [one for one in value[:most] if isinstance(one, dict)] if isinstance(value, list) else []


def exactly_one(given: Mapping[str, Any], names: Sequence[str]) -> str:
    """
    Return the one of several names that has a value.

    :raises ValueError: none has, or more than one.
    """
    found = [name for name in names if given.get(name) is not None]
    if len(found) != 1:
        raise ValueError(f"give exactly one of {', '.join(names)}; given: {', '.join(found) or 'none'}")
    return found[0]


def number_in(value: Any) -> Decimal | None:
    """Return the number that a value is, or that a text says; None for all else: booleans, infinity, what is too long."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:  # not its beginning either: that is another number
        return None
    try:
        found = Decimal(str(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < _LONGEST_NUMBER else None


def same(one: object, other: object) -> bool:
    """
    Tell whether two values are written alike; the order of the keys of an object does not matter.

    Python takes ``1``, ``1.0`` and ``True`` for equal, and a service does not. What has no form in JSON is the same where Python
    shows it alike.
    """
    pending = [(one, other)]
    while pending:
        left, right = pending.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pending += [(value, right[key]) for key, value in left.items()]
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pending += zip(left, right, strict=True)
        elif type(left) is not type(right) or repr(left) != repr(right):
            return False
    return True


def deeper_than(levels: int, value: Any) -> bool:
    """Tell whether lists and objects are nested deeper than so many levels; the outermost one is the first."""
    layer = [value]
    for _ in range(levels):
        inner = [one.values() if isinstance(one, dict) else one for one in layer if isinstance(one, dict | list)]
        layer = [item for items in inner for item in items]
    return any(isinstance(one, dict | list) for one in layer)


def without_bytes(value: Any) -> Any:
    """Return a value of a column, or for a BLOB, which SQLite keeps in any column, a text that can be sorted and written."""
    return f"{_OF_BYTES}X'{value.hex()}'" if isinstance(value, bytes) else value


def bytes_in(value: object) -> str | None:
    """Return how SQL writes the bytes that a text of :func:`without_bytes` stands for; None for all other values."""
    return value[1:] if isinstance(value, str) and value.startswith(_OF_BYTES) else None


class Flaw(Enum):
    """Why a value cannot be held."""

    #: PostgreSQL has no NUL in a text.
    NUL = auto()
    #: Half of a surrogate pair: it has no form in UTF-8.
    HALF_CHARACTER = auto()
    #: JSON has no infinity, and nothing that is not a number.
    NOT_FINITE = auto()
    #: The protocol between Airflow's tasks and their supervisors holds whole numbers of 64 bits.
    TOO_LARGE = auto()
    #: JSON's keys are texts.
    KEY_IS_NO_TEXT = auto()
    #: Nested deeper than the caller allows; what is below was not looked at.
    TOO_DEEP = auto()


@dataclass(frozen=True)
class _Place:
    """
    A place in the data. Its text is made only where something is wrong: a long key is in the paths of all that is below it.

    :param around: the place of the list or object; None for the outermost one.
    :param step: index or key; None for the keys themselves.
    """

    around: _Place | None
    step: int | str | None

    def __str__(self) -> str:
        before = "" if self.around is None else str(self.around)
        if self.step is None:
            return f"{before} (a key)".strip()
        if isinstance(self.step, int):
            return f"{before}[{self.step}]"
        return f"{before}.{self.step}" if before else self.step


@dataclass(frozen=True)
class Unstorable:
    """
    A value that cannot be held.

    :param path: where it is, such as ``config.vars[0]``; empty for the data itself.
    :param value: the value, or the key.
    """

    flaw: Flaw
    path: str
    value: object


def unstorable(data: Any, *, max_depth: int) -> Iterator[Unstorable]:
    """
    Yield everything that PostgreSQL's JSON, or Airflow on the way to a task, could not hold.

    :param data: objects, lists, texts, numbers, booleans and null.
    :param max_depth: how deep lists and objects may be nested; the outermost one is the first level.
    """
    pending: list[tuple[_Place | None, Any, int]] = [(None, data, 1)]
    while pending:
        place, value, depth = pending.pop()
        if not isinstance(value, dict | list | tuple):
            if (flaw := _flaw(value)) is not None:
                yield Unstorable(flaw, str(place or ""), value)
        elif depth > max_depth:
            yield Unstorable(Flaw.TOO_DEEP, str(place or ""), value)
        elif isinstance(value, dict):
            for key, item in value.items():
                if isinstance(key, str):
                    pending += [(_Place(place, None), key, depth), (_Place(place, key), item, depth + 1)]
                else:
                    yield Unstorable(Flaw.KEY_IS_NO_TEXT, str(place or ""), key)
        else:
            pending += [(_Place(place, index), item, depth + 1) for index, item in enumerate(value)]


def _flaw(value: object) -> Flaw | None:
    """Return what is wrong with a text or a number."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            return Flaw.HALF_CHARACTER
        return Flaw.NUL if "\x00" in value else None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else Flaw.TOO_LARGE
    if isinstance(value, float):
        return None if math.isfinite(value) else Flaw.NOT_FINITE
    return None
