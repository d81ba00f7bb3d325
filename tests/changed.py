"""Runs the tests that a change concerns: `make test-changed`, or `python -m tests.changed [BASE] [pytest's options]`.

A change is what differs from the branch BASE (main), files that are not committed included. A test concerns it when
its file reaches a changed file: by imports, by modules that a string names (`-m web_tier`, "inference.engines", what a
child process is told to import), and by files that a string names (a template, a script of ami/, an example photo).
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent

# Every test stands on these, and the architecture test reads every source.
EVERY_TEST = {"pyproject.toml", "requirements.txt", "constraints.txt", "tests/conftest.py"} | {
    f"requirements/{part}.txt" for part in ("shared", "worker", "web", "prepare", "local-cloud", "develop")
}
ALWAYS = {"tests/test_architecture.py"}

_NO_PLACES = {"web", "server", "shoal"}  # names that are ordinary words: a text with them names no folder and no file

_DOTTED = re.compile(r"\b[a-z_]+(?:\.[a-z_0-9]+)+\b")
_STARTED = re.compile(r"-m\s+([a-z_][a-z_0-9.]*)")
_WORD = re.compile(r"[\w./-]+")


class Reach:
    """Which files of the repository each of them leads to."""

    def __init__(self, root: Path, files: Iterable[str]) -> None:
        self._root = root
        self.files = set(files)
        self._by_name: dict[str, set[str]] = defaultdict(set)
        packages = {PurePosixPath(path).parent for path in self.files if path.endswith("/__init__.py")}
        for path in self.files:
            if path.endswith(".py"):
                continue
            if PurePosixPath(path).name not in _NO_PLACES:
                self._by_name[PurePosixPath(path).name].add(path)
            for folder in PurePosixPath(path).parents:
                if folder not in packages and folder.name and folder.name not in _NO_PLACES:
                    self._by_name[folder.name].add(path)
        self._packages = packages
        self._ours = {PurePosixPath(path).parts[0] for path in self.files if path.endswith(".py")}

    @cached_property
    def edges(self) -> Mapping[str, set[str]]:
        """File -> the files that it names itself."""
        return {path: self.files.intersection(self._named(path)) for path in self.files}

    def all_from(self, path: str) -> set[str]:
        """The file and every file that it leads to."""
        reached, waiting = {path}, [path]
        while waiting:
            new = self.edges[waiting.pop()] - reached
            reached |= new
            waiting += new
        return reached

    def _named(self, path: str) -> Iterator[str]:
        folder = PurePosixPath(path).parent
        if path.endswith(".py"):
            yield from self._named_by_python(path)
        elif folder in self._packages:
            return
        elif path.startswith(("ami/", "templates/")):
            text = (self._root / path).read_text()
            for module in _STARTED.findall(text):
                yield from self._started(module)
            for name in _WORD.findall(text):
                yield from self._by_name.get(PurePosixPath(name).name, ())
        if folder in self._packages:  # data of a package: whoever reads the package reads it
            yield from (one for one in self.files if PurePosixPath(one).parent == folder and not one.endswith(".py"))

    def _named_by_python(self, path: str) -> Iterator[str]:
        tree = ast.parse((self._root / path).read_text())
        passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)} | set(_inner_folders(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield from self._module(f"{node.module}.{alias.name}")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
                yield from self._named_by_text(node.value)
            elif isinstance(node, ast.List | ast.Tuple):
                yield from self._named_by_command(node.elts)
            elif isinstance(node, ast.Call):
                yield from self._named_by_command(node.args)
                if isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "plugins":
                    yield from self._named_by_plugins(node.args)

    def _named_by_command(self, words: list[ast.expr]) -> Iterator[str]:
        """The module after "-m" in the words of a command."""
        texts = [word.value if isinstance(word, ast.Constant) else None for word in words]
        for option, module in pairwise(texts):
            if option == "-m" and isinstance(module, str):
                yield from self._started(module)

    def _named_by_plugins(self, arguments: list[ast.expr]) -> Iterator[str]:
        """Every file of a package from which `shoal.plugins` chooses."""
        for argument in arguments:
            if isinstance(argument, ast.Constant):
                yield from self._package(str(argument.value))

    def _package(self, name: str) -> Iterator[str]:
        folder = PurePosixPath(*name.split("."))
        return (path for path in self.files if PurePosixPath(path).parent == folder)

    def _named_by_text(self, text: str) -> Iterator[str]:
        yield text
        if text.endswith(".") and _DOTTED.fullmatch(text[:-1]):  # f"inference.tasks.{name}"
            yield from self._package(text[:-1])
        if "/" not in text:
            yield from self._by_name.get(text, ())
        for module in _STARTED.findall(text):
            yield from self._started(module)
        for module in _DOTTED.findall(text):
            yield from self._started(module)

    def _started(self, module: str) -> Iterator[str]:
        yield from self._module(module)
        yield from self._module(f"{module}.__main__")

    def _module(self, name: str) -> Iterator[str]:
        """The file of a module of ours, or of the module that holds the name, and the packages around it."""
        path = PurePosixPath(*name.split("."))
        if path.parts[0] in self._ours:
            for one in (path, *path.parents):
                yield f"{one}/__init__.py" if one in self._packages else f"{one}.py"


def _inner_folders(tree: ast.AST) -> Iterator[int]:
    """The folders in the middle of a path such as `ROOT / "ami" / "install"`: the file at its end is what is named."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.left, ast.BinOp):
            yield id(node.left.right)


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def repository() -> list[str]:
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard")
    return [path for path in listed if (ROOT / path).is_file()]


def concerned(changed: set[str], reach: Reach) -> list[str]:
    """The test files that a change of these files concerns; all of them when one was removed or is every test's."""
    tests = {path for path in reach.files if re.fullmatch(r"tests/test_\w+\.py", path)}
    if changed & EVERY_TEST or changed - reach.files:
        return sorted(tests)
    return sorted(ALWAYS & tests | {test for test in tests if reach.all_from(test) & changed}) if changed else []


def main() -> int:
    """Run them; the status is pytest's."""
    base = next(iter(sys.argv[1:]), "main")
    [since] = _git("merge-base", base, "HEAD")
    changed = {*_git("diff", "--name-only", "--no-renames", since), *_git("ls-files", "--others", "--exclude-standard")}
    tests = concerned(changed, Reach(ROOT, repository()))
    print(f"{len(changed)} files changed, {len(tests)} test files concerned", flush=True)
    return (
        subprocess.run(["sh", "tests/run.sh", *tests, *sys.argv[2:]], cwd=ROOT, check=False).returncode if tests else 0
    )


if __name__ == "__main__":
    sys.exit(main())
