"""The pure heart of the controller is covered to the last branch, by examples that a person can read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COVERED = (
    "policy", "policies/*", "plan", "ledger", "estimates", "throughput", "sightings", "standstill", "experience",
    "tally", "calendar", "budget",
)  # fmt: skip
TESTS = ("policies", "limits", "plan", "estimates", "throughput", "reconciler", "ledger", "standstill", "bulk")


def test_every_branch_is_covered_without_the_help_of_chance(tmp_path: Path) -> None:
    data = f"--data-file={tmp_path / 'coverage'}"
    include = "--include=" + ",".join(f"controller/{name}.py" for name in COVERED)
    coverage = [sys.executable, "-m", "coverage"]
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not hypothesis"]
    files = [f"tests/test_controller_{name}.py" for name in TESTS]
    ran = subprocess.run(
        [*coverage, "run", "--branch", data, include, *pytest, *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    report = subprocess.run(
        [*coverage, "report", data, "--show-missing", "--fail-under=100"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert report.returncode == 0, report.stdout
