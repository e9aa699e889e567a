"""The machine and the versions that a run was made with."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.checkout import git
from benchmarks.peers.environment import PeersEnvironment

OURS = ("apache-airflow", "apache-airflow-providers-google", "google-cloud-dataform", "httpx", "msal", "grpcio")
PEERS = (
    "apache-airflow",
    "apache-airflow-providers-microsoft-azure",
    "apache-airflow-providers-google",
    "airflow-powerbi-provider",
    "airflow-powerbi-plugin",
    "httpx",
    "msal",
    "microsoft-kiota-http",
)
#: What a run is about, and not what it writes.
_MEASURED = ("provider", "dag_factory", "benchmarks", ":!benchmarks/results", ":!benchmarks/README.md")
_VERSIONS = "import json, sys; from importlib.metadata import version; print(json.dumps({n: version(n) for n in sys.argv[1:]}))"


def describe(peers: PeersEnvironment) -> dict[str, Any]:
    """Return what stands beside the results."""
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "changes": bool(git("status", "--porcelain", "--", *_MEASURED)),
        "ours": {name: version(name) for name in OURS},
        "peers": json.loads(peers.run("-c", _VERSIONS, *PEERS)),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
