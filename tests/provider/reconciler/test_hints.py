"""Hints in a pipe: whole lines by bytes, and a reader that nothing ends but the end."""

from __future__ import annotations

import json
import os
import random

import pytest

from provider.reconciler.hints import LONGEST_LINE, hint_line, read_hint
from provider.reconciler.loop import ReconcilerLoop
from tests.provider.reconciler.test_process import HINT, FakeReconciler


@pytest.mark.parametrize("character", ["x", "\u00e4", "\u20ac", "\U0001f600", '"', "\\", "\n"])
@pytest.mark.parametrize("length", [0, 300, 341, 2000, 5000])
def test_a_hint_is_never_longer_than_a_pipe_takes_whole(character: str, length: int) -> None:
    hint = {**HINT, "error": character * length}
    line = hint_line(hint)
    assert len(line) <= LONGEST_LINE
    assert line.count(b"\n") == 1
    read = read_hint(line)
    assert read == {**hint, "error": read["error"]}
    assert str(hint["error"]).startswith(read["error"])
    # No more is cut than has to be.
    assert read["error"] == hint["error"] or len(line) > LONGEST_LINE - 24


def test_ids_that_leave_no_place_for_an_error_make_a_hint_to_look() -> None:
    assert read_hint(hint_line({**HINT, "run_id": "\U0001f600" * 250, "dag_id": "\U0001f600" * 250})) == {}


BAD = [
    b"",
    b"\n",
    b'{"dag_id": "a", "er{}',
    b"\xff\xfe\n",
    b"[]",
    b"null",
    b'"x"',
    b"7",
    json.dumps({**HINT, "map_index": "x"}).encode(),
    json.dumps({**HINT, "error": None}).encode(),
    json.dumps({"dag_id": "a"}).encode(),
    b"[" * 5000,
]


@pytest.mark.parametrize("line", BAD)
def test_a_line_that_is_no_hint_is_skipped_and_the_next_one_heard(line: bytes) -> None:
    fake = FakeReconciler()
    loop = ReconcilerLoop(fake, 3600, parent=os.getppid())
    loop.listen([line, hint_line(HINT)])
    assert fake.notes == [(("sales", "b1"), ("load", -1, 2), "heartbeat lost")]
    assert loop._stopping.is_set()


def test_no_hint_is_cut_however_full_the_pipe_is() -> None:
    chance = random.Random(1)
    lines = [b"{}\n", *(hint_line({**HINT, "error": character * 5000}) for character in "x\u00e4\U0001f600")]
    written: list[bytes] = []
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for _ in range(2000):
        line = chance.choice(lines)
        try:
            assert os.write(writing, line) == len(line)
            written.append(line)
        except BlockingIOError:
            os.read(reading, 50_000)
            written.clear()
            os.close(reading)
            os.close(writing)
            reading, writing = os.pipe()
            os.set_blocking(writing, False)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert list(pipe) == written
