"""ami/make-venv: which Python it accepts, what it shows while it installs, and how it fails."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "ami" / "make-venv"


def stub(path: Path, lines: str) -> Path:
    """A program that stands in for Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


def make_venv(
    folder: Path, python: Path | str = sys.executable, requirements: str = "requirements/worker.txt"
) -> subprocess.Popen[str]:
    """`make-venv` for the folder, which needs one megabyte."""
    return subprocess.Popen(
        ["sh", SCRIPT, folder, requirements, "1"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("version", "accepted"), [("3.10", False), ("3.11", True), ("3.12", True), ("3.13", True), ("3.14", False)]
)
def test_it_accepts_the_python_versions_of_the_package(version: str, accepted: bool, tmp_path: Path) -> None:
    set_version = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0)"
    answers = f'''case "$1" in
        --version) echo Python {version} ;;
        -c) exec "{sys.executable}" -c "{set_version}; $2" ;;
        *) exit 1 ;;
    esac'''
    told = make_venv(tmp_path / "made", stub(tmp_path / "python", answers)).communicate()[1]
    refused = f"Python {version} found, Python 3.11, 3.12 or 3.13 needed" in told

    assert refused is not accepted, told


def test_the_versions_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["requires-python"] == ">=3.11,<3.14"
    for file in ("README.md", "CONTRIBUTING.md", "ami/make-venv", "shoal_cli/doctor.py"):
        assert "Python 3.11, 3.12 or 3.13" in (ROOT / file).read_text(), file


def test_it_shows_what_pip_does_where_there_is_no_terminal(tmp_path: Path) -> None:
    end = tmp_path / "end"
    removed = "echo Found existing installation: setuptools; echo '  Successfully uninstalled setuptools'"
    says = f"echo Collecting tensorflow; {removed}; until [ -e {end} ]; do sleep 0.1; done"
    stub(tmp_path / "made" / "bin" / "python", says)
    process = make_venv(tmp_path / "made")
    assert process.stdout is not None
    assert process.stdout.readline() == "Installing requirements/worker.txt ...\n"
    assert process.stdout.readline().endswith(" s: Collecting tensorflow\n")
    end.touch()
    process.communicate()

    assert process.returncode == 0
    # The step after pip takes half of the time.
    assert "\nCompiling the packages, a minute or two" in (tmp_path / "made" / "install.log").read_text()


@pytest.mark.parametrize("place", ["requirements/locked/web.txt", "/opt/shoal/requirements/locked/web.txt"])
def test_locked_requirements_are_taken_by_their_hashes_alone(place: str, tmp_path: Path) -> None:
    stub(tmp_path / "made" / "bin" / "python", 'echo "$@"; exit 1')

    told = make_venv(tmp_path / "made", requirements=place).communicate()[1]
    assert f" --require-hashes --only-binary :all: --progress-bar off -r {place}\n" in told


def test_a_failure_shows_what_pip_said(tmp_path: Path) -> None:
    stub(tmp_path / "made" / "bin" / "python", "echo No matching distribution; exit 1")
    process = make_venv(tmp_path / "made")
    told = process.communicate()[1]

    assert process.returncode == 1
    assert told.startswith("No matching distribution\nshoal: the packages could not be installed")
