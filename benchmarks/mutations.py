"""`python -m benchmarks.mutations [WORD]`: remove each remedy and check that its test fails.

WORD: only the tests with WORD in their names.

Reads the mutations from the docstrings of tests/test_*_pitfalls.py. Applies each to a copy of the sources and
runs its test there.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ("tests/test_controller_pitfalls.py", "tests/test_shoal_pitfalls.py")
COPIED = (
    "shoal",
    "shoal_cli",
    "controller",
    "app_tier",
    "inference",
    "web_tier",
    "local_cloud",
    "benchmarks",
    "tests",
    "ami",
)


@dataclass(frozen=True)
class Mutation:
    """A test, the file to change, the text to replace and the replacement."""

    test: str
    file: str
    changes: tuple[tuple[str, str], ...]


def read_mutations() -> list[Mutation]:
    """One for each test of the file. Raises ValueError for a test without a mutation."""
    found = []
    for node in (node for file in TESTS for node in ast.parse((ROOT / file).read_text()).body):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            _, _, text = (ast.get_docstring(node) or "").partition("Mutation: ")
            file, _, rest = text.partition(":")
            changes = tuple(re.findall(r"`([^`]+)`\s*->\s*`([^`]+)`", rest))
            if not changes:
                raise ValueError(f"{node.name} names no mutation")
            found.append(Mutation(node.name, file, changes))
    return found


def passes(copy: Path, *arguments: str) -> bool:
    """Whether the tests pass in that copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS, *arguments]
    return subprocess.run(command, cwd=copy, capture_output=True, check=False).returncode == 0


def survives(mutation: Mutation, copy: Path) -> bool:
    """Whether the test passes without its remedy. Raises ValueError if the file does not contain the remedy."""
    place = copy / mutation.file
    original = place.read_text()
    text = original
    for old, new in mutation.changes:
        if old not in text:
            raise ValueError(f"{mutation.test}: {old!r} is not in {mutation.file}")
        text = text.replace(old, new)
    place.write_text(text)
    try:
        return passes(copy, "-k", mutation.test)
    finally:
        place.write_text(original)


def main() -> int:
    """Try them; return how many survived."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="shoal-mutations-") as folder:
        copy = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if not passes(copy):
            raise ValueError("the tests fail without any mutation")
        for mutation in (one for one in read_mutations() if word in one.test):
            survived = survives(mutation, copy)
            survivors += survived
            print(f"{'SURVIVED' if survived else 'killed  '}  {mutation.test}", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
