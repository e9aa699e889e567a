from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider import input_files
from provider.exceptions import DefinitionError
from provider.input_files import read_file
from provider.strict_yaml import dump


@pytest.fixture
def write(tmp_path: Path):
    def write(content: str | bytes, name: str = "file.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("2026-01-01", "2026-01-01"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("-7", -7),
        ("~", None),
        ("", None),
        ("'7'", "7"),
        ("0 5 * * *", "0 5 * * *"),
        (".inf", ".inf"),
    ],
)
def test_words_mean_what_they_mean_in_json(write, text: str, value: Any) -> None:
    assert read_file(write(f"key: {text}\n")) == {"key": value}


def test_a_byte_order_mark_is_no_content(write) -> None:
    assert read_file(write(b"\xef\xbb\xbfkey: 1\n")) == {"key": 1}
    assert read_file(write(b'\xef\xbb\xbf{"key": 1}', "file.JSON")) == {"key": 1}


_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n" for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


_MERGE_BOMB = "a: &a {k: 1}\n" + "".join(
    f"{after}: &{after} {{<<: [{', '.join([f'*{before}'] * 100)}]}}\n" for before, after in zip("abcde", "bcdef", strict=True)
)
_DEEP_BY_ALIAS = "a0: &a0 [x]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 100))


def test_anchors_and_merge_keys_save_repetition(write) -> None:
    text = """
common: &common
  region: europe-west3
  retries: 1
first: &first
  <<: *common
  retries: 2
second: {<<: [*first, *common], "<": 3}
third: *first
"""
    data = read_file(write(text))
    assert data["first"] == data["third"] == {"region": "europe-west3", "retries": 2}
    assert data["second"] == {"region": "europe-west3", "retries": 2, "<": 3}


def test_a_quoted_key_may_be_any_word(write) -> None:
    assert read_file(write("'1': a\n\"true\": b\nno: c\n")) == {"1": "a", "true": "b", "no": "c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_BOMB, r"file.yaml, line 7, column \d+: more than 2000000 values, with aliases written out"),
        (_MERGE_BOMB, "more than 2000000 values"),
        (_DEEP_BY_ALIAS, "line 50, column 12: nested more than 50 deep"),
        ("a: &x [*x]\n", "line 1, column 8: nothing before this place has the anchor &x"),
        ("a: &x {<<: *x}\n", "nothing before this place has the anchor &x"),
        ("a: *x\nb: &x 1\n", "nothing before this place has the anchor &x"),
        ("a: {<<: [1]}\n", "line 1, column 10: expected a mapping for merging"),
        ("a: !!python/object/apply:os.system [touch hacked]\n", "line 1, column 4: the tag .*os.system is not supported"),
        ("a: !!binary aGVsbG8=\n", "the tag"),
        ("a: !own b\n", "the tag !own"),
        ("a: 1\nb: 2\na: 3\n", 'line 3, column 1: the key "a" is given twice'),
        ("a: {b: 1, b: 2}\n", 'the key "b" is given twice'),
        ("1: a\n", "line 1, column 1: a key must be a text"),
        ("true: a\n", "a key must be a text"),
        ("? [a]\n: b\n", "a key must be a text"),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed"),
        ("- a: 1\n b: 2\n", "line 2, column 2: did not find expected '-' indicator; look at the indentation of this line"),
        ("  a: 1\nb: 2\n", "line 2, column 1: did not find expected <document start>; look at the indentation of this line"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: but found another document"),
        ("a: " + "[" * 10_000 + "]" * 10_000, "nested more than 50 deep"),
        ("a: \x01\n", "control characters are not allowed"),
        ("a: " + "9" * 5_000, "is not YAML"),
    ],
)
def test_hostile_yaml_is_refused_by_place(write, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        read_file(write(text))
    assert [path.name for path in tmp_path.iterdir()] == ["file.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', 'the key "a" is given twice'),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": 1,}', r"file.json, line 1, column \d+"),
        ("[" * 100_000, "nested too deep"),
        ("9" * 5_000, "limit"),
        ("", "line 1, column 1"),
    ],
)
def test_hostile_json_is_refused(write, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        read_file(write(text, "file.json"))


def test_other_encodings_are_refused_by_line(write) -> None:
    with pytest.raises(DefinitionError, match="line 2: not UTF-8"):
        read_file(write(b"a: 1\nb: caf\xe9\n"))


def test_what_is_no_readable_file_is_refused(write, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="cannot be read: Is a directory"):
        read_file(tmp_path)
    with pytest.raises(DefinitionError, match="absent.yaml cannot be read: No such file"):
        read_file(tmp_path / "absent.yaml")


def test_a_file_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "MAX_BYTES", 1000)
    with pytest.raises(DefinitionError, match="larger than"):
        read_file(Path("/dev/zero"))


_text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff") | st.sampled_from("\n"))
_words = st.sampled_from(
    ["no", "on", "010", "1e3", "0o17", "2026-01-01", "~", "=", "<<", "null", "1_0", "0x1f", "1:30", " a ", ""]
)
_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text | _words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text | _words, inner, max_size=4),
    max_leaves=10,
)


@given(data=_plain)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(dump(data), encoding="utf-8", newline="")
    assert read_file(path) == data


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    typed(b"a: [1, 2]\n")
    assert read_file(Path("-")) == {"a": [1, 2]}
    typed(b'{"a": {"b": null}}')
    assert read_file(Path("-")) == {"a": {"b": None}}
    typed(b"a: 1\nb: [\n")
    with pytest.raises(DefinitionError, match="^standard input, line 3, column 1: "):
        read_file(Path("-"))
    monkeypatch.setattr(input_files, "MAX_BYTES", 3)
    typed(b"a: 12")
    with pytest.raises(DefinitionError, match="^standard input is larger than"):
        read_file(Path("-"))
