"""What processes cost, by what the system counts of them."""

from __future__ import annotations

import re
from pathlib import Path

import psutil


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process and of its children that have ended; none of one that is gone."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # its time is its parent's now
    return float(times.user + times.system + times.children_user + times.children_system)


def cpu_seconds_with_children(process: psutil.Process) -> float:
    """Return the CPU time of a process and of all below it."""
    return cpu_seconds(process) + sum(cpu_seconds(child) for child in process.children(recursive=True))


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has ever had, in MiB; 0 for one that is gone."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(found[1]) / 1024 if found else 0.0
