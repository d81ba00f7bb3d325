"""The import rules of docs/design.md, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("shoal", "shoal_cli", "inference", "app_tier", "controller", "web_tier", "local_cloud")
TIERS = ("app_tier", "controller", "web_tier")
NAMELESS = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}

# Composition roots may put together what the others may not even see.
COMPOSITION_ROOTS = {f"{tier}/__main__.py" for tier in TIERS} | {"app_tier/lambda_handler.py"}

PURE_CONTROLLER = ("policy", "plan", "estimates", "sightings", "experience", "calendar", "budget")
PURE = [*(f"controller/{name}.py" for name in PURE_CONTROLLER), "shoal/messages.py"]
PURE_MAY_IMPORT = {
    "__future__", "bisect", "collections", "dataclasses", "datetime", "functools", "itertools", "json", "math", "re",
    "secrets", "sys", "typing", "zoneinfo", "shoal.errors", "shoal.ports", "shoal.messages",
    "controller.policies.deadline", *(f"controller.{name}" for name in PURE_CONTROLLER),
}  # fmt: skip


def sources() -> list[Path]:
    return sorted(path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file, with what is taken from it."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def may_import(room: str) -> set[str]:
    """The rooms that a file may import from."""
    return {
        "shoal": {"shoal"},
        "shoal_cli": {"shoal_cli", "shoal", "inference"},
        "inference": {"inference", "shoal"},
        "local_cloud": {"local_cloud"},
    }.get(room, {room, "shoal", "inference"})


@pytest.mark.parametrize("path", sources(), ids=str)
def test_a_file_imports_only_from_the_rooms_below_it(path: Path) -> None:
    room = path.parts[0]
    allowed = may_import(room)
    for module in imports(path):
        other = module.partition(".")[0]
        assert other not in ROOMS or other in allowed, f"{path} imports {module}"


@pytest.mark.parametrize("path", sources(), ids=str)
def test_boto3_is_imported_by_shoal_aws_alone(path: Path) -> None:
    if path.as_posix().startswith(("shoal/aws/", "local_cloud/")):
        return
    for module in imports(path):
        assert module.partition(".")[0] not in {"boto3", "botocore"}, f"{path} imports {module}"


@pytest.mark.parametrize("path", sources(), ids=str)
def test_shoal_aws_is_imported_by_composition_roots_alone(path: Path) -> None:
    name = path.as_posix()
    if name in COMPOSITION_ROOTS or name.startswith(("shoal_cli/", "shoal/aws/")):
        return
    assert not [module for module in imports(path) if module.startswith("shoal.aws")], f"{path} imports shoal.aws"


def test_inference_knows_of_shoal_only_the_words() -> None:
    words = ("shoal.messages", "shoal.errors", "shoal.plugins", "shoal")
    for path in sources():
        if path.parts[0] == "inference":
            for module in imports(path):
                known = not module.startswith("shoal") or module.startswith(words[:3]) or module == "shoal.plugins"
                assert known, f"{path} imports {module}"


@pytest.mark.parametrize("path", [*PURE, *(ROOT / "controller/policies").glob("*.py")], ids=str)
def test_pure_files_import_neither_clock_nor_network_nor_logging(path: str | Path) -> None:
    for module in imports(Path(path)):
        package = module.rpartition(".")[0] or module
        assert {package, package.partition(".")[0]} & PURE_MAY_IMPORT, f"{path} imports {module}"


def test_the_environment_is_read_by_the_settings_alone() -> None:
    # boto3's own variables are read where boto3 is; the CLI hands its environment on to what it starts.
    allowed = {"shoal/settings.py", "shoal/aws/metadata.py", "shoal/aws/clients.py"}
    for path in sources():
        name = path.as_posix()
        if name in allowed or name.startswith(("shoal_cli/", "local_cloud/")):
            continue
        text = (ROOT / path).read_text()
        assert "os.environ" not in text, f"{name} reads the environment"
        assert "getenv" not in text, f"{name} reads the environment"


def test_no_room_is_nameless() -> None:
    assert not [path for path in (*sources(), *(ROOT / "tests").glob("*.py")) if Path(path).stem in NAMELESS]


def test_a_worker_starts_without_tensorflow() -> None:
    # What `python -m app_tier` imports before it has read a setting.
    script = "import app_tier.__main__, sys; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
