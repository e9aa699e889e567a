"""
One try of a task in a process of its own, which a test can kill: ``python one_try.py '{"operator": …}'``.

The ledger is a file, as what Airflow keeps of a task outlives its process too.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from tests.provider.operators.conftest import FakeTaskInstance, Store


class FileStore(Store):
    """``context["task_state_store"]`` in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.stored = json.loads(path.read_text()) if path.exists() else {}

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        super().set(key, value)
        self._path.write_text(json.dumps(self.stored))


def main(spec: dict[str, Any]) -> None:
    module, _, name = spec["operator"].rpartition(".")
    operator = getattr(importlib.import_module(module), name)(**spec["arguments"])
    ti = FakeTaskInstance(**spec["ti"])
    operator.execute({"ti": ti, "task_instance": ti, "task_state_store": FileStore(Path(spec["store"]))})


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
