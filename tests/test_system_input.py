"""What strangers upload, through the whole system: each file gets its own answer and nothing else suffers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests

from benchmarks import photos
from benchmarks.running.system import ROOT, RunningSystem
from tests.waiting import wait_for

CAT = (ROOT / "static" / "examples" / "cat.jpg").read_bytes()
LABEL = "Egyptian_cat"
ANSWER_SECONDS = 120.0
NAMES = [
    "../../etc/passwd.jpg",
    "🐟 and chips.jpg",
    "\"double\" and 'single' quotes.jpg",
    "<script>alert(1).jpg",
    "w" * 300 + ".jpg",
    "twice.jpg",
    "twice.jpg",
    "no extension",
]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    # One worker: what one file does to it, the next one feels.
    system = RunningSystem(tmp_path_factory.mktemp("input") / "state", MAX_INSTANCES=1, QUIET_SECONDS=20)
    system.start()
    yield system
    assert system.stop() == 0


def submit(system: RunningSystem, files: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """One submission by the plain form; returns its photos once all are answered."""
    form = [("inputFile", (name, body)) for name, body in files]
    page = requests.post(system.address, files=form, headers={"Accept": "text/html"}, timeout=120)
    assert page.ok, page.text
    found: list[dict[str, Any]] = []

    def answered() -> bool:
        found[:] = requests.get(f"{page.url}.json", timeout=30).json()["photos"]
        return all(one["state"] in ("done", "failed") for one in found)

    wait_for(answered, ANSWER_SECONDS, f"not all were answered: {found}")
    return found


def test_each_bad_file_fails_alone_with_its_reason_and_the_others_are_labelled(system: RunningSystem) -> None:
    corpus = photos.bad_files()
    files = [("first.jpg", CAT), *corpus.items(), ("last.jpg", CAT)]
    found = submit(system, files)
    assert len(found) == len(files)
    for one in found[1:-1]:
        if one["name"].startswith("bad_"):
            assert one["state"] == "failed", one
            assert len(one["error"]) > 10
            assert "Error" not in one["error"]
            assert "Traceback" not in one["error"]
        else:
            assert one["state"] == "done", one
            assert one["labels"]
    assert [one["labels"][0]["name"] for one in (found[0], found[-1])] == [LABEL, LABEL]


def test_any_file_name_is_taken_and_shown_as_text(system: RunningSystem) -> None:
    found = submit(system, [(name, CAT) for name in NAMES])
    assert [one["labels"][0]["name"] for one in found] == [LABEL] * len(NAMES)
    names = [one["name"] for one in found]
    assert names[:4] == ["passwd.jpg", *NAMES[1:4]]
    assert names[4].endswith("….jpg")
    assert names[5:] == NAMES[5:]


def test_a_missing_field_and_an_empty_form_are_explained(system: RunningSystem) -> None:
    wrong = requests.post(system.address, files={"picture": ("a.jpg", CAT)}, timeout=30)
    assert wrong.status_code == 400
    assert "inputFile" in wrong.text
    assert requests.post(system.address, data={"a": "b"}, timeout=30).status_code == 400
    single = requests.post(system.address, files={"myfile": ("a.txt", b"hello")}, timeout=30)
    assert single.status_code == 422
    assert "not an image" in single.text


def test_memory_stays_flat_under_bad_input(system: RunningSystem) -> None:
    corpus = list(photos.bad_files().items())
    submit(system, corpus)
    web, [worker] = psutil.Process(system.part("web_tier").pid), system.workers()
    before = web.memory_info().rss, worker.memory_info().rss
    for _ in range(3):
        submit(system, corpus)
    after = web.memory_info().rss, worker.memory_info().rss
    assert system.workers() == [worker]
    assert after[0] - before[0] < 50_000_000
    assert after[1] - before[1] < 100_000_000


def test_an_iphone_photo_is_labelled(system: RunningSystem) -> None:
    heic = (ROOT / "benchmarks" / "cat.heic").read_bytes()
    answer = requests.post(system.address, files={"inputFile": ("IMG_0001.HEIC", heic)}, timeout=60)
    assert answer.text == f"IMG_0001:{LABEL}"
