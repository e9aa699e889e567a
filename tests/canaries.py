"""
Secrets that are planted to be found again: nowhere.

A canary is a secret of a test with a name. Whatever can be read by somebody who must not know it is scanned: texts, objects
with their ``repr`` and ``str``, exceptions with everything they hang on, folders of logs and databases.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import sqlite3
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import ahocorasick  # type: ignore[import-not-found]  # it has no types

#: Characters of a secret that are as good as the whole: texts are cut, and half of a token is half too much.
PIECE = 16
_SQLITE_MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True, order=True)
class Leak:
    """One canary in one place."""

    canary: str
    where: str


@dataclass
class Canaries:
    """
    The secrets to look for, by name.

    Each is looked for as it is, as JSON, URL, base64 and ``repr`` spell it, and by its first, middle and last
    characters, as messages cut what they quote.
    """

    secrets: dict[str, str] = field(default_factory=dict)
    _built: ahocorasick.Automaton | None = field(default=None, init=False, repr=False, compare=False)

    def plant(self, name: str, secret: str) -> str:
        """Look for *secret* too, and return it."""
        assert len(secret) >= 8, f"{name}: a secret of {len(secret)} characters is found by chance"
        self.secrets[name] = secret
        self._built = None
        return secret

    def plant_key(self, name: str, pem: str) -> None:
        """Look for lines of a private key; the first one is the same in all keys."""
        lines = [line for line in pem.splitlines() if not line.startswith("-----")]
        for number in (len(lines) // 3, len(lines) // 2):
            self.plant(f"{name}, line {number + 1}", lines[number])

    def plant_jwt(self, name: str, token: str) -> None:
        """Look for the signature of a signed token; its other parts are no secrets, and many tokens begin alike."""
        self.plant(f"{name}, signature", token.rpartition(".")[2])

    def in_text(self, text: str | bytes, where: str) -> list[Leak]:
        """Return the canaries in a text."""
        content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        if not self.secrets:
            return []
        found = {name for _end, names in self._automaton().iter(content.decode("latin-1")) for name in names}
        return sorted(Leak(name, where) for name in found)

    def _automaton(self) -> ahocorasick.Automaton:
        """Return what finds all forms of all secrets in one pass over a text; bytes are looked at as characters."""
        if self._built is None:
            names: dict[str, set[str]] = {}
            for name, secret in self.secrets.items():
                for form in forms(secret):
                    names.setdefault(form.decode("latin-1"), set()).add(name)
            automaton = ahocorasick.Automaton()
            for text, of_secrets in names.items():
                automaton.add_word(text, of_secrets)
            automaton.make_automaton()
            self._built = automaton
        return self._built

    def in_object(self, value: Any, where: str) -> list[Leak]:
        """Return the canaries in what people see of an object: ``repr`` and ``str``, of its items too."""
        return self.in_text("\n".join(_shown(value)), where)

    def in_exception(self, error: BaseException, where: str) -> list[Leak]:
        """Return the canaries in an error, in all that it was caused by, and in the traceback."""
        found = list(self.in_text("".join(traceback.TracebackException.from_exception(error).format()), f"{where}: traceback"))
        for link in chain(error):
            found += self.in_object(link, f"{where}: {type(link).__name__}")
            found += self.in_object(link.args, f"{where}: arguments of {type(link).__name__}")
        return sorted(set(found))

    def in_database(self, url: str) -> list[Leak]:
        """Return the canaries in a database's rows, of every table that the login may read."""
        import sqlalchemy

        engine = sqlalchemy.create_engine(url)
        found: list[Leak] = []
        try:
            tables = sqlalchemy.MetaData()
            tables.reflect(engine)
            with engine.connect() as connection:
                for table in tables.sorted_tables:
                    columns = ", ".join(connection.dialect.identifier_preparer.quote(column.name) for column in table.columns)
                    name = connection.dialect.identifier_preparer.format_table(table)
                    # As the driver gives them: a type of Airflow's would decrypt what it stores encrypted.
                    for row in connection.exec_driver_sql(f"SELECT {columns} FROM {name}"):
                        for column, value in zip(table.columns, row, strict=True):
                            found += self.in_text(_bytes(value), f"{table.name}.{column.name}")
        finally:
            engine.dispose()
        return sorted(set(found))


def scan_folder(path: Path, canaries: Canaries | Mapping[str, str]) -> list[Leak]:
    """
    Return the canaries in a folder's files: logs, also compressed ones, SQLite databases by their values too.

    A database's text may be spread over pages, so its tables are read besides its bytes. Files that the test itself writes
    secrets into (keys, connections) belong elsewhere.

    :param path: folder, or one file.
    :param canaries: what to look for, by name.
    """
    wanted = canaries if isinstance(canaries, Canaries) else Canaries(dict(canaries))
    found: list[Leak] = []
    for file in sorted(
        item for item in (path.rglob("*") if path.is_dir() else [path]) if item.is_file() and not item.is_symlink()
    ):
        content = file.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        found += wanted.in_text(content, str(file))
        if content.startswith(_SQLITE_MAGIC):
            found += [leak for text, where in _sqlite_values(file) for leak in wanted.in_text(text, f"{file}: {where}")]
    return sorted(set(found))


def forms(secret: str) -> Iterator[bytes]:
    """Yield the spellings of a secret that give it away."""
    pieces = (
        {secret, secret[:PIECE], secret[-PIECE:], secret[len(secret) // 2 :][:PIECE]} if len(secret) > 2 * PIECE else {secret}
    )
    for piece in pieces:
        yield piece.encode()
        yield quote(piece, safe="").encode()
        yield quote_plus(piece).encode()
        yield json.dumps(piece)[1:-1].encode()
        yield repr(piece)[1:-1].encode()
    encoded = secret.encode()
    for shift in range(3):  # base64 depends on where in the text a secret begins
        text = base64.b64encode(b"\0" * shift + encoded).decode()
        inner = text[4 if shift else 0 : len(text) - 4]
        if len(inner) >= 12:
            yield inner.encode()
            yield inner.replace("+", "-").replace("/", "_").encode()


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and everything it hangs on, also what ``from None`` hides from a traceback."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]


def _shown(value: Any) -> Iterable[str]:
    yield repr(value)
    yield str(value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _shown(key)
            yield from _shown(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _shown(item)


def _sqlite_values(file: Path) -> Iterator[tuple[bytes, str]]:
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            literal = re.sub('"', '""', table)
            for row in connection.execute(f'SELECT * FROM "{literal}"'):
                for value in row:
                    yield _bytes(value), table


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dict | list):
        return json.dumps(value, default=str).encode()
    return str(value).encode("utf-8", "surrogatepass")
