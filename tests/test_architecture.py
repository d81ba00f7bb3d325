"""The rules of docs/design.md, read from the document and from the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from shoal.deployment import code_package

ROOT = Path(__file__).parent.parent
DESIGN = (ROOT / "docs" / "design.md").read_text()
PACKAGES = (
    "shoal",
    "shoal_cli",
    "inference",
    "app_tier",
    "controller",
    "web_tier",
    "local_cloud",
    "comparison",
    "simulator",
    "runs",
    "benchmarks",
    "tests",
)
NAMELESS = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}
MOST_FILES, MOST_LINES = 20, 500
CONTINUED = 12  # columns: a line of the map that begins so far to the right continues the one above

PURE_MAY_IMPORT = {
    "__future__", "bisect", "collections", "dataclasses", "datetime", "functools", "itertools", "json", "math", "re",
    "secrets", "sys", "typing", "zoneinfo", "shoal.errors", "shoal.ports", "shoal.messages", "shoal.ledger",
}  # fmt: skip


@dataclass(frozen=True)
class Room:
    """One row of the table in docs/design.md."""

    name: str
    paths: tuple[str, ...]
    below: tuple[str, ...]


def section(title: str) -> str:
    """The text below a heading of docs/design.md."""
    return DESIGN.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def read_rooms() -> dict[str, Room]:
    """The table of rooms, from the top to the bottom."""
    rows = [line.strip("| ").split(" | ") for line in section("Who may import whom").splitlines() if line[:1] == "|"]
    names = [row[0] for row in rows[2:]]
    assert len(set(names)) == len(names)
    rooms = {}
    for at, (name, files, imports) in enumerate(rows[2:]):
        words = {"every room below": names[at + 1 :], "nothing": []}
        below = words.get(imports, imports.split(", "))
        rooms[name] = Room(name, tuple(re.findall("`([^`]+)`", files)), tuple(below))
    return rooms


ROOMS = read_rooms()
BY_PATH = {path: room for room in ROOMS.values() for path in room.paths}


def sources() -> list[Path]:
    return sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


SOURCES = sources()
TREES = {path: ast.parse((ROOT / path).read_text()) for path in SOURCES}
OURS = [path for path in SOURCES if path.parts[0] not in ("tests", "benchmarks")]


def room_of(path: Path) -> Room:
    """The room of a file: the row that names it, or its closest folder."""
    return next(BY_PATH[one.as_posix()] for one in (path, *path.parents) if one.as_posix() in BY_PATH)


@cache
def imports(path: Path) -> list[str]:
    """Every module that a file imports, wherever in the file, with what is taken from it."""
    modules: list[str] = []
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return modules


def file_of(module: str) -> Path | None:
    """The file of ours that holds a module, or holds what is taken from one; None for other people's."""
    path = Path(*module.split("."))
    while path.parts:
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file in TREES:
                return file
        path = path.parent
    return None


def test_each_row_of_the_table_names_what_exists_and_imports_downwards_alone() -> None:
    names = list(ROOMS)
    for at, room in enumerate(ROOMS.values()):
        assert not [path for path in room.paths if not (ROOT / path).exists()], room
        assert not [name for name in room.below if name not in names[at + 1 :]], f"{room.name}: no such room below it"


def test_a_file_imports_only_what_its_room_may() -> None:
    wrong = []
    for path in SOURCES:
        room = room_of(path)
        for module in imports(path):
            file = file_of(module)
            if file is None:
                assert module.partition(".")[0] not in PACKAGES, f"{path} imports {module}, which does not exist"
            elif (other := room_of(file)) is not room and other.name not in room.below:
                wrong.append(f"{path} ({room.name}) may not import {module} ({other.name})")
    assert wrong == []


def read_map() -> Iterator[tuple[list[str], str]]:
    """The entries of the map: the paths on the left, and the text on the right with its further lines."""
    block = section("The house").split("```")[1]
    folders: dict[int, str] = {}
    paths: list[str] = []
    text = ""
    for line in block.strip("\n").splitlines():
        indent = len(line) - len(line.lstrip())
        if indent >= CONTINUED:
            text += f" {line.strip()}"
            continue
        if paths:
            yield paths, text
        left = re.match(r"\s*((?:[\w.-]+/?(?: {1,2}|$))+)", line)
        assert left, line
        parent = next((folders[one] for one in sorted(folders, reverse=True) if one < indent), "")
        names = left[1].split()
        text = line[left.end() :].strip()
        paths = [parent + name for name in names]
        folders = {one: path for one, path in folders.items() if one < indent}
        if names[0].endswith("/"):
            folders[indent] = paths[0]
    yield paths, text


def test_the_map_names_what_exists_and_every_file_is_in_it() -> None:
    named: set[str] = set()
    for paths, text in read_map():
        for path in paths:
            assert (ROOT / path).exists(), f"{path} is in the map of docs/design.md and does not exist"
            folder = Path(path) if path.endswith("/") else Path(path).parent
            for word in re.findall(r"[\w/]+", text):
                named |= {(folder / f"{word}.py").as_posix(), (folder.parent / f"{word}.py").as_posix()}
            if re.search("one file a|a file each", text):
                named |= {file.as_posix() for file in SOURCES if file.parent == folder}
        named |= {path.removesuffix("/") for path in paths}
    missing = [path.as_posix() for path in OURS if path.name != "__init__.py" and path.as_posix() not in named]
    assert missing == [], "not in the map of docs/design.md"


def test_boto3_is_imported_by_shoal_aws_alone() -> None:
    for path in OURS:
        if not path.as_posix().startswith(("shoal/aws/", "local_cloud/")):
            assert not {module.partition(".")[0] for module in imports(path)} & {"boto3", "botocore"}, path


def pure() -> list[Path]:
    decisions = (path for path in OURS if room_of(path).name in ("policies", "decisions"))
    return [*decisions, Path("shoal/messages.py"), Path("shoal/safe_json.py"), Path("shoal/ledger.py")]


@pytest.mark.parametrize("path", pure(), ids=str)
def test_pure_files_import_neither_clock_nor_network_nor_logging(path: Path) -> None:
    for module in imports(path):
        if (file := file_of(module)) and file in pure():
            continue
        package = module.rpartition(".")[0] or module
        assert {package, package.partition(".")[0]} & PURE_MAY_IMPORT, f"{path} imports {module}"


def test_the_environment_is_read_by_the_settings_alone() -> None:
    # boto3's own variables are read where boto3 is; the CLI hands its environment on to what it starts.
    allowed = {"shoal/settings/reading.py", "shoal/aws/metadata.py", "shoal/aws/clients.py"}
    for path in OURS:
        name = path.as_posix()
        if name in allowed or name.startswith(("shoal_cli/", "local_cloud/")):
            continue
        text = (ROOT / path).read_text()
        assert "os.environ" not in text, f"{name} reads the environment"
        assert "getenv" not in text, f"{name} reads the environment"


def test_no_file_is_nameless() -> None:
    assert not [path for path in SOURCES if path.stem in NAMELESS]


def test_a_class_has_a_name_of_its_own() -> None:
    where = defaultdict(list)
    for path in SOURCES:
        if not path.name.startswith("test_"):
            for node in TREES[path].body:
                if isinstance(node, ast.ClassDef):
                    where[node.name].append(path.as_posix())
    assert {name: paths for name, paths in where.items() if len(paths) > 1} == {}


def test_a_folder_holds_few_files_and_a_file_few_lines() -> None:
    folders: dict[Path, int] = defaultdict(int)
    for path in SOURCES:
        folders[path.parent] += 1
        assert len((ROOT / path).read_text().splitlines()) <= MOST_LINES, path
    del folders[Path("tests")]  # flat on purpose: a file a subject
    assert {str(folder): count for folder, count in folders.items() if count > MOST_FILES} == {}


def test_a_worker_starts_without_tensorflow() -> None:
    # What `python -m app_tier` imports before it has read a setting.
    script = "import app_tier.__main__, sys; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def imported_from(package: str) -> set[str]:
    """The packages that a process of this one imports, itself and what they import in turn included."""
    needed, new = {package}, {package}
    while new:
        files = [path for path in SOURCES if path.parts[0] in new]
        found = {module.partition(".")[0] for path in files for module in imports(path)} & set(PACKAGES)
        needed, new = needed | found, found - needed
    return needed


def copied(file: str, stages: set[str]) -> set[str]:
    """The packages that these stages of a container file copy. A stage without a name is ""."""
    found, stage = set(), ""
    for line in (ROOT / "ami" / file).read_text().splitlines():
        if line.startswith("FROM "):
            stage = line.partition(" AS ")[2]
        elif (copy := re.fullmatch(r"COPY (\w+) /opt/shoal/\1", line)) and stage in stages:
            found.add(copy[1])
    return found & set(PACKAGES)


@pytest.mark.parametrize(
    ("package", "file", "stages"),
    [
        ("app_tier", "Containerfile", {"code", "worker"}),
        ("web_tier", "Containerfile", {"code", "web"}),
        ("app_tier", "lambda.Containerfile", {""}),
    ],
)
def test_a_container_image_has_the_packages_that_its_process_imports(package: str, file: str, stages: set[str]) -> None:
    assert copied(file, stages) == imported_from(package)


@pytest.mark.parametrize("package", ["web_tier", "controller"])
def test_the_page_s_instance_gets_the_packages_that_its_processes_import(package: str) -> None:
    assert imported_from(package) <= set(code_package.PACKAGES)
