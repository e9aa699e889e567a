"""Texts for people and for columns: one line, cut, without what a terminal or a database does not take. No Airflow."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeVar

#: Of longer texts no more is looked at.
_LONGEST = 100_000

T = TypeVar("T", bound=str | int | tuple[object, ...])


def one_line(text: object, limit: int = 400) -> str:
    """Return a text on one line, *limit* characters at most; what steers a terminal is shown instead, and a cut by ``…``."""
    line = " ".join(storable(text, _LONGEST).split())
    return cut(line if line.isprintable() else "".join(one if one.isprintable() else escaped(one) for one in line), limit)


def cut(text: str, limit: int) -> str:
    """Return a text of *limit* characters at most; one that was longer ends with ``…``."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def cut_around_difference(one: str, other: str, limit: int) -> tuple[str, str]:
    """Return two texts of *limit* characters at most, from one place on where they begin to differ; ``…`` stands for the rest."""
    alike = next((index for index, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), None)
    place = min(len(one), len(other)) if alike is None else alike
    start = max(0, min(place - limit // 4, max(len(one), len(other)) - limit))

    def part(text: str) -> str:
        return cut(f"…{text[start + 1 :]}" if start else text, limit)

    return part(one), part(other)


def escaped(character: str) -> str:
    r"""Return a character that steers a terminal as one that a person can read: ``\x1b``."""
    return character.encode("unicode_escape").decode()


def first_line(text: object, limit: int = 400) -> str:
    """Return the first line of a text that is not empty, *limit* characters at most; empty where there is none."""
    return one_line(next((line for line in str(text)[:_LONGEST].splitlines() if line.strip()), ""), limit)


def sentence(text: object, limit: int = 400) -> str:
    """Return a text from outside on one line and without its full stop, so that a message of ours can go on after it."""
    return one_line(text, limit).rstrip(".")


def quoted(value: object, limit: int = 80) -> str:
    """Return a foreign value for a message to people: quoted, control characters escaped, cut."""
    text = storable(repr(value), _LONGEST)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def storable(text: object, limit: int) -> str:
    """Return a text that every database takes: no NUL, no lone surrogates, *limit* characters at most."""
    return str(text).replace("\x00", "").encode("utf-8", "replace").decode()[:limit]


def storable_or_none(value: object, limit: int) -> str | None:
    """Return None for None, else what :func:`storable` makes of it."""
    return None if value is None else storable(value, limit)


def counted(number: int, noun: str) -> str:
    """Return how many there are of something: ``1 rule``, ``2 rules``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def task_name(task_id: str, map_index: int) -> str:
    """Return how people are told of a task instance."""
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"


def plain(value: object) -> str:
    """Return the text of an enumeration's member, or of a string that stands for one: Airflow hands out both."""
    return str(getattr(value, "value", value))


def chunks(values: Collection[T], size: int) -> Iterator[list[T]]:
    """Yield the values in order, *size* of them at a time: for lists in SQL, which databases limit."""
    ordered = sorted(values)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
