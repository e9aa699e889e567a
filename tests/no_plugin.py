"""An Airflow whose scheduler cannot do what Cloud Composer's cannot."""

from __future__ import annotations

from pathlib import Path


def without_reconciler_process(folder: Path) -> Path:
    """Return a folder for ``PYTHONPATH`` with which no scheduler can host the reconciler, as on Cloud Composer."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['provider.reconciler.process'] = None\n")
    return folder
