"""The mutants of a module, by name and by what each changes."""

from __future__ import annotations

import contextlib
import difflib
import random
from collections.abc import Sequence

from tests.mutation.plan import Change
from tests.mutation.workspace import Workspace

#: mutmut's separator of class and method in a name.
_OF_CLASS = "ǁ"


def all_mutants(workspace: Workspace) -> dict[str, Change]:
    """Return what each mutant of the module changes, by mutmut's name for it."""
    from mutmut.configuration import reset_config
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    found: dict[str, Change] = {}
    with contextlib.chdir(workspace.folder):
        reset_config()
        for file in workspace.module.files:
            path = workspace.folder / file
            mutated = mutate_file_contents(file, path.read_text(encoding="utf-8"))
            lines = mutated.code.splitlines()
            for name in mutated.mutant_names:
                function, _, _ = name.rpartition("__mutmut_")
                sources = []
                for generated in (f"{function}__mutmut_orig", name):
                    span = mutated.line_span_by_function_name[generated]
                    sources.append([line.replace(generated, function) for line in lines[span.start - 1 : span.end]])
                found[get_mutant_name(path.relative_to(workspace.folder), name)] = change(file, function, *sources)
    return found


def change(file: str, mangled: str, original: Sequence[str], mutated: Sequence[str]) -> Change:
    """Return what a mutant changes, from the lines of a function before and after."""
    before, after = [line.strip() for line in original], [line.strip() for line in mutated]
    removed: list[str] = []
    added: list[str] = []
    for kind, start, end, other_start, other_end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind != "equal":
            removed += before[start:end]
            added += after[other_start:other_end]
    return Change(file, function_name(mangled), "\n".join(removed), "\n".join(added))


def function_name(mangled: str) -> str:
    """Return ``name`` or ``Class.name`` of mutmut's name for a function."""
    if mangled.startswith(f"x{_OF_CLASS}"):
        return ".".join(mangled.removeprefix(f"x{_OF_CLASS}").split(_OF_CLASS))
    return mangled.removeprefix("x_")


def draw(names: Sequence[str], size: int | None, seed: int) -> list[str]:
    """Return a sample, the same for the same seed; None: all."""
    if size is None or len(names) <= size:
        return list(names)
    return sorted(random.Random(seed).sample(sorted(names), size))
