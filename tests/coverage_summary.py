"""Plugin of pytest: the covered share of the lines, and the files with the least, above pytest's closing line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

#: How many files are named.
FILES = 8


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the summary of what pytest-cov has measured."""
    import coverage

    measured = Path(config.rootpath) / ".coverage"
    if not config.getoption("cov_source", None) or not measured.exists():
        return
    data = coverage.Coverage(data_file=str(measured))
    data.load()
    text = io.StringIO()
    data.report(file=text, sort="cover", skip_covered=True)
    lines = text.getvalue().splitlines()
    header, files = lines[:2], [line for line in lines[2:] if ".py " in line]
    total = next((line for line in lines if line.startswith("TOTAL")), "TOTAL unknown")
    terminalreporter.section(f"coverage, lowest {min(FILES, len(files))} files")
    for line in [*header, *files[:FILES], total]:
        terminalreporter.write_line(line)
