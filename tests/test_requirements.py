"""The requirements files: each package is pinned once, and a worker needs no more than requirements/worker.txt."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from shoal_cli._requirements import pins
from tests.inference_fixtures import EXAMPLES, cache_dir

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "requirements"
WORKER_MEGABYTES = 700
NOT_FOR_WORKERS = {"tensorflow", "keras", "nncf", "moto", "ministack", "flask", "waitress", "apscheduler", "pyarrow"}
# A worker's work in one process: what it serves with, where it stores, what it tells. A package that is not in
# requirements/worker.txt cannot be imported.
WORK = """
import importlib, json, pkgutil, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent, cache, photo, *engines = json.loads(sys.argv[1])
sys.meta_path.insert(0, Missing())

import app_tier, inference.tasks, shoal, shoal.aws
for package in (app_tier, inference.tasks, shoal, shoal.aws):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
from inference import faces, process
from shoal import traces
from shoal.messages import Job
import cv2, pathlib

traces.configure("http://127.0.0.1:9", "worker")
it = process.load(["resnet50"], "openvino", pathlib.Path(cache), None, 50_000_000, 20_000_000)
job = Job.from_key("1m7yv8wnwyewm4djehxe/00000/cat.jpg", "")
print(process.process(it, job, pathlib.Path(photo).read_bytes()).label)
import onnxruntime
import inference.engines.onnxruntime
"""


@cache
def needed(pinned: str) -> frozenset[str]:
    """The names of the distributions that a pin needs, its own included."""
    return frozenset(_needed(Requirement(pinned), set()))


def _needed(requirement: Requirement, seen: set[tuple[str, str]]) -> Iterator[str]:
    name = canonicalize_name(requirement.name)
    yield name
    for extra in ("", *requirement.extras):
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in importlib.metadata.requires(name) or ():
            inner = Requirement(text)
            if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                yield from _needed(inner, seen)


def worker_needs() -> frozenset[str]:
    """All distributions of a worker's environment."""
    return frozenset().union(*map(needed, pins(FOLDER / "worker.txt")))


def test_each_package_is_pinned_once_and_as_in_the_constraints() -> None:
    own = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", re.MULTILINE)
    pinned = [found.groups() for path in FOLDER.glob("*.txt") for found in own.finditer(path.read_text())]
    constraints = {
        canonicalize_name(name): version for name, version in own.findall((ROOT / "constraints.txt").read_text())
    }
    twice = [name for name, count in Counter(canonicalize_name(name) for name, _ in pinned).items() if count > 1]

    assert not twice
    assert {
        name: version for name, version in pinned if constraints.get(canonicalize_name(name), version) != version
    } == {}


def test_requirements_txt_is_all_that_one_machine_needs() -> None:
    parts = [set(pins(path)) for path in FOLDER.glob("*.txt") if path.stem != "develop"]

    assert set(pins(ROOT / "requirements.txt")) == set().union(*parts)


def test_a_workers_environment_is_small() -> None:
    found = worker_needs()
    files = (one for name in found for one in importlib.metadata.distribution(name).files or ())
    size = sum(path.stat().st_size for path in {Path(str(file.locate())) for file in files} if path.is_file())

    assert not found & NOT_FOR_WORKERS
    assert size / 1e6 < WORKER_MEGABYTES


@pytest.mark.timeout(120)
def test_a_worker_labels_with_the_packages_of_worker_txt_alone() -> None:
    given = worker_needs()
    absent = [
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & given
    ]
    assert {"tensorflow", "keras", "moto", "flask", "nncf"} <= set(absent)
    request = json.dumps([absent, str(cache_dir()), str(EXAMPLES / "cat.jpg")])
    done = subprocess.run([sys.executable, "-c", WORK, request], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "cat" in done.stdout or "tabby" in done.stdout


@pytest.mark.parametrize(
    ("locked", "source"),
    [
        ("run", "../requirements.txt"),
        ("develop", "develop.txt"),
        ("web", "web.txt"),
        ("worker", "worker.txt"),
        ("lambda", "../ami/lambda-requirements.txt"),
    ],
)
def test_what_is_installed_is_locked_by_hash_and_as_pinned(locked: str, source: str) -> None:
    """`make locks` writes the files; forget it after a change of the pins, and this says so."""
    text = (FOLDER / "locked" / f"{locked}.txt").read_text()
    found = dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)", text, re.MULTILINE))
    pinned = dict(one.split("==") for one in pins(FOLDER / source))
    constraints = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    known = {canonicalize_name(name): version for name, version in constraints.items()}

    assert {canonicalize_name(name.partition("[")[0]): version for name, version in pinned.items()}.items() <= {
        canonicalize_name(name): version for name, version in found.items()
    }.items()
    assert {
        name: version for name, version in found.items() if known.get(canonicalize_name(name), version) != version
    } == {}
    entries = re.split(r"\n(?=\S)", text.partition("\n\n")[2] or text)
    assert all("--hash=sha256:" in entry for entry in entries if entry[0].isalnum())


@pytest.mark.parametrize(
    "file", ["bake", "pack-worker", "web/set-up", "server/set-up", "Containerfile", "lambda.Containerfile"]
)
def test_images_and_servers_install_by_hash(file: str) -> None:
    installs = re.findall(r"(?:requirements|ami)/[\w/-]*\.txt", (ROOT / "ami" / file).read_text())

    assert installs
    assert {one.rpartition("/")[0] for one in installs} == {"requirements/locked"}


def test_the_workflows_run_what_make_runs() -> None:
    """They are not run here."""
    steps = []
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            steps += [step.get("run", step.get("uses", "")) for step in job["steps"]]
    targets = (ROOT / "Makefile").read_text()

    assert {".ci/run", "make sbom", "make audit", "github/codeql-action/analyze@v3"} <= set(steps)
    assert all(f"\n{step.removeprefix('make ')}:" in targets for step in steps if step.startswith("make "))
