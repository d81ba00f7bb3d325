"""CONTRIBUTING.md does what it says: its examples are written into a copy of the project, and their tests run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = {Path(found[1]): found[2] for found in EXAMPLE.finditer((ROOT / "CONTRIBUTING.md").read_text())}
CODE = [path for path in EXAMPLES if path.parts[0] != "tests"]
TESTS = [path for path in EXAMPLES if path.parts[0] == "tests"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, and the files of CONTRIBUTING.md."""
    folder = tmp_path_factory.mktemp("copy")
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for path in map(Path, listed.splitlines()):
        if (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
    for path, text in EXAMPLES.items():
        assert not (folder / path).exists(), f"{path} is a file of the project: the example would replace it"
        (folder / path).write_text(text)
    return folder


def run(copy: Path, *arguments: str) -> None:
    """Run a Python module in the copy."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_there_is_an_example_with_its_test_for_each_thing_to_add() -> None:
    rooms = {"inference/models", "inference/engines", "controller/policies", "web_tier/venues", "shoal_cli"}

    assert {path.parent.as_posix() for path in CODE} == rooms
    assert len(CODE) == len(TESTS) == len(rooms)


@pytest.mark.timeout(300)
def test_the_examples_work_and_keep_the_rules_of_the_house(copy: Path) -> None:
    tests = map(str, [*TESTS, "tests/test_architecture.py"])
    run(copy, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests)


def test_the_examples_pass_the_lint(copy: Path) -> None:
    files = map(str, EXAMPLES)
    run(copy, "ruff", "check", "--no-cache", *files)
    run(copy, "ruff", "format", "--no-cache", "--check", *map(str, EXAMPLES))
