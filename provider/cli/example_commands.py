"""``accelerator examples``: writes the examples, which are in the wheel, into a folder."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from provider.cli.output import say
from provider.cli.written_files import write_file, writing_into

#: In the repository this is a link to ``examples/``, so that there is one text of each file; in the wheel it is a folder.
EXAMPLES = Path(__file__).parent / "examples"


def write_examples(args: argparse.Namespace) -> int:
    """
    Write each example that is missing; leave those that a person changed.

    :raises AcceleratorError: the folder cannot be written.
    """
    folder = Path(args.folder).expanduser()
    kept = []
    with writing_into(folder):
        for name, content in example_files().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            outcome = write_file(path, content, force=False)
            say(f"{outcome:<11}{path}")
            if outcome == "kept":
                kept.append(name)
    if kept:
        sys.stderr.write(
            f"error: {', '.join(kept)} differ from this version's examples and were left as they are; "
            "compare them, or name another folder.\n"
        )
        return 1
    workflows, scenario = (shlex.quote(str(folder / name)) for name in ("workflows.yaml", "emulators.yaml"))
    say("Next, the workflows, and what runs them without a cloud:")
    say(f"  accelerator import {workflows}")
    say(f"  accelerator emulators --scenario {scenario} --env-file emulators.env")
    return 0


def example_files() -> dict[str, bytes]:
    """Return the examples by their paths below the folder, such as ``dags/bigquery_load.py``."""
    files = sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix in (".yaml", ".json", ".py", ".md"))
    return {path.relative_to(EXAMPLES).as_posix(): path.read_bytes() for path in files}
