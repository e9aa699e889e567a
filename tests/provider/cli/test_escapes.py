"""No file, name or argument steers the terminal of who reads what a command says."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from provider.cli.output import json_text

CLEAR, CSI, TITLE, TURNED, LINE = "\x1b[2J", "\x9b31m", "\x1b]0;pwn\x07", "\u202e", "\u2028"
EVIL = CLEAR + CSI + TITLE + TURNED + LINE

FILES = {
    "twice.yaml": '"\\e[2J": 1\n"\\e[2J": 2\n',
    "tag.yaml": "workflows: !%1b[31mx 1\n",
    "anchor.yaml": "workflows: *\u009b31m\n",
    "unknown.yaml": '"\\e[2Jfoo": 1\nworkflows: []\n',
    "ids.yaml": 'workflows:\n- workflow_id: "x\\e[2J"\n  tasks: [{task_id: "\\e[31mt", task_type: "\\e]0;p\\a"}]\n',
    "values.yaml": 'workflows:\n- workflow_id: x\n  schedule: "\\e[2J"\n  timezone: "\\u202e"\n  tasks: [{task_id: t, '
    'task_type: dataform, config: {"\\e[2J": 1, region: "\\e[2J", project_id: "{{ \\e[2J }}"}, depends_on: ["\\e[2J"]}]\n',
    "twice.json": '{"\\u009b2J":1,"\\u009b2J":2}',
    "unknown.json": '{"\\u009b2J\\u202e":1,"workflows":[]}',
    "controls.yaml": 'a: "\u0085\u2028"\n"\\x9b2J": {{\n',
}


def steering(text: str) -> list[str]:
    return [character for character in text if character != "\n" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")]


@pytest.mark.usefixtures("embedded_database")
class TestErrors:
    @pytest.mark.parametrize("command", ["validate", "import"])
    @pytest.mark.parametrize("name", FILES)
    def test_of_files(self, accelerator: Any, tmp_path: Path, name: str, command: str) -> None:
        (tmp_path / name).write_text(FILES[name])
        result = accelerator(command, tmp_path / name)
        assert result.code == 1
        assert result.out + result.err
        assert steering(result.out + result.err) == []

    @pytest.mark.parametrize(
        "arguments",
        [
            ["validate", f"/nowhere/{EVIL}.yaml"],
            ["validate", "/nowhere/\udcff.yaml"],
            ["import", f"/nowhere/{EVIL}.json"],
            ["logs", EVIL],
            ["logs", "x", "--workflow", EVIL],
            ["requests", "--workflow", EVIL],
            ["requests", "retry", EVIL],
            ["requests", "--state", EVIL],
            ["batches", "--workflow", EVIL],
            ["batches", EVIL],
            [EVIL],
            ["init", f"/proc/{EVIL}"],
            ["export", f"--{EVIL}"],
        ],
    )
    def test_of_arguments(self, accelerator: Any, arguments: list[str]) -> None:
        result = accelerator(*arguments)
        assert result.out + result.err
        assert steering(result.out + result.err) == []

    def test_of_a_folder_that_is_written(self, accelerator: Any, tmp_path: Path) -> None:
        result = accelerator("init", tmp_path / EVIL)
        assert (result.code, steering(result.out)) == (0, [])
        assert "\\x1b[2J" in result.out


def test_stderr_is_as_it_was_afterwards(accelerator: Any) -> None:
    before = sys.stderr
    accelerator("validate", "/nowhere")
    assert sys.stderr is before


def test_json_stays_the_same_data(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    data = {"a": EVIL + "\u00e4\udcff\n"}
    assert json.loads(json_text(data)) == data
    assert steering(json_text(data)) == []
    assert "\u00e4" in json_text(data)
