"""Inputs of all kinds through the page's form, /v1, POST / and the command: the same right answer at each door."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.running.system import ROOT, RunningSystem
from tests.cases_fixtures import BASE64, CAT, FORMS, JPEG, LEFTOVERS, PHOTOS, Case
from tests.test_web_accept import BROWSERS, PROGRAMS
from tests.waiting import until

FILES = [("inputFile", (case.name, case.payload)) for case in PHOTOS]
WAIT = {"Prefer": "wait=90"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    folder = tmp_path_factory.mktemp("cases")
    system = RunningSystem(folder / "state", MAX_INSTANCES=1, QUIET_SECONDS=30, ANSWER_CACHE=1000)
    system.start()
    yield system
    assert system.stop() == 0


def finished(address: str) -> list[dict[str, Any]]:
    """The photos of a batch, once all are answered."""
    found: list[dict[str, Any]] = []

    def answered() -> bool:
        found[:] = requests.get(address, timeout=30).json()["photos"]
        return bool(found) and all(one["state"] in ("done", "failed") for one in found)

    until(answered, 120)
    return found


def check(case: Case, label: str, warnings: list[str], error: str) -> None:
    assert error.startswith(case.error), (case.name, error)
    assert bool(error) == bool(case.error), (case.name, error)
    if not case.error and case.label:
        assert label == case.label, case.name
    said = [text for text in warnings if case.warning and text.startswith(case.warning)]
    assert bool(said) == bool(case.warning), (case.name, warnings)
    assert case.warning or not [text for text in warnings if text.startswith("the file is cut")], (case.name, warnings)


def check_all(photos: list[dict[str, Any]]) -> None:
    assert [photo["name"] for photo in photos] == [case.name for case in PHOTOS]
    for case, photo in zip(PHOTOS, photos, strict=True):
        label = photo["labels"][0]["name"] if photo.get("labels") else ""
        check(case, label, photo["warnings"] or [], photo["error"] or "")


def test_photos_of_all_kinds_by_the_pages_form(system: RunningSystem) -> None:
    page = requests.post(system.address, files=FILES, headers=BROWSERS["Safari"], timeout=120)
    assert page.ok, page.text
    check_all(finished(f"{page.url}.json"))


def test_photos_of_all_kinds_by_the_api(system: RunningSystem) -> None:
    reply = requests.post(f"{system.address}/v1/batches", files=FILES, headers=WAIT, timeout=120)
    check_all(reply.json()["photos"])


def test_photos_of_all_kinds_by_a_program(system: RunningSystem) -> None:
    reply = requests.post(system.address, files=FILES, headers=PROGRAMS["Java"], timeout=120)
    lines = reply.text.splitlines()
    assert (reply.status_code, len(lines)) == (200, len(PHOTOS))
    for case, line in zip(PHOTOS, lines, strict=True):
        expected = f"{case.name}: {case.error}" if case.error else f"{Path(case.name).stem}:{case.label}"
        assert line.startswith(expected)


def test_photos_of_all_kinds_by_the_command(system: RunningSystem, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for case in PHOTOS:
        (folder / case.name).parent.mkdir(exist_ok=True)
        (folder / case.name).write_bytes(case.payload)
    for name in LEFTOVERS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(JPEG)
    Path(os.fsdecode(bytes(folder) + b"/caf\xe9.jpg")).write_bytes(JPEG)
    done = subprocess.run(
        [sys.executable, "-m", "shoal_cli", "classify", "--json", str(folder)],
        cwd=ROOT, env=system.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr  # some photos cannot be read
    assert "passed over 8 hidden or system files and folders" in done.stderr
    told = {Path(one["path"]).name: one for one in map(json.loads, done.stdout.splitlines())}
    assert told.pop("café.jpg")["labels"][0]["name"] == CAT
    check_all([told[case.name] | {"name": case.name} for case in PHOTOS])


@pytest.mark.parametrize("kind", FORMS)
def test_forms_as_clients_write_them(system: RunningSystem, kind: str) -> None:
    content_type, body, name = FORMS[kind]
    headers = {"Content-Type": content_type}
    program = requests.post(system.address, data=body, headers=headers, timeout=60)
    api = requests.post(f"{system.address}/v1/batches", data=body, headers=headers | WAIT, timeout=60).json()
    page = requests.post(system.address, data=body, headers=headers | BROWSERS["Safari"], timeout=60)
    assert program.text.encode() == f"{Path(name).stem}:{CAT}".encode()
    for photos in (api["photos"], finished(f"{page.url}.json")):
        assert [(one["name"], one["labels"][0]["name"]) for one in photos] == [(name, CAT)]


@pytest.mark.parametrize("kind", BASE64)
def test_base64_as_libraries_write_it(system: RunningSystem, kind: str) -> None:
    body = json.dumps({"photos": [{"name": "a.jpg", "data": BASE64[kind]}]}).encode()
    for coding, payload in (("identity", body), ("gzip", gzip.compress(body))):
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        reply = requests.post(f"{system.address}/v1/batches", data=payload, headers=headers | WAIT, timeout=60)
        assert reply.json()["photos"][0]["labels"][0]["name"] == CAT
