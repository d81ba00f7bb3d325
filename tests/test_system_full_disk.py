"""A whole Shoal on a full disk: it refuses what it cannot keep, loses nothing of the rest and goes on by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from benchmarks import photos
from benchmarks.running.small_disk import SmallDisk, small_disk
from benchmarks.running.system import RunningSystem
from shoal.settings import load
from tests.waiting import wait_for

SECONDS = 120.0
PADDING = 150_000  # a JPEG may be followed by anything


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture
def system(disk: SmallDisk) -> Iterator[RunningSystem]:
    # The noise behind the photos, which fills the disk, is kept.
    system = RunningSystem(
        disk.path / "state", PRIVATE_DATA="keep", MAX_INSTANCES=1, VISIBILITY_SECONDS=6, SWEEP_SECONDS=3
    )
    system.output = disk.path.parent / "terminal.log"
    system.start()
    yield system
    system.stop(signal.SIGKILL)
    wait_for(lambda: not system.processes(), 20, "processes are left")


def send(system: RunningSystem, batch: str, index: int, photo: bytes) -> int:
    """Send a photo as the page does; the status of the answer."""
    url = f"{system.address}/batches/{batch}/photos?first={index}"
    return requests.post(url, files={"inputFile": (f"{index}.jpg", photo)}, timeout=60).status_code


def kill_ministack(system: RunningSystem) -> None:
    """With kill -9; the embedded cloud starts it again."""
    init = int((system.state_dir / "cloud" / "ministack.pid").read_text())
    [ministack] = psutil.Process(init).children()
    os.kill(ministack.pid, signal.SIGKILL)
    wait_for(lambda: not ministack.is_running(), 20, "ministack goes on")


def ready(system: RunningSystem) -> bool:
    try:
        return requests.get(f"{system.address}/readyz", timeout=30).ok
    except requests.RequestException:
        return False


def states(system: RunningSystem, batch: str) -> dict[int, str]:
    try:
        found = requests.get(f"{system.address}/batches/{batch}.json", timeout=30)
    except requests.RequestException:
        return {}
    return {one["index"]: one["state"] for one in found.json()["photos"]} if found.ok else {}


def test_a_full_disk(system: RunningSystem, disk: SmallDisk) -> None:
    noise = np.random.default_rng(1)
    sent = [
        one.read_bytes() + noise.bytes(PADDING)
        for one in sorted(photos.fetch(load().cache_dir), key=lambda one: one.stat().st_size)[:6]
    ]
    batch = str(requests.post(f"{system.address}/batches", timeout=30).json()["batch"])
    wait_for(lambda: ready(system) and "Shoal is ready" in system.text(), SECONDS, "it is not ready")

    disk.fill(leave=3 * len(sent[0]))
    answers = {index: send(system, batch, index, photo) for index, photo in enumerate(sent)}
    disk.fill()
    accepted = {index for index, status in answers.items() if status == 200}
    assert 1 <= len(accepted) < len(sent)
    assert {answers[index] for index in set(answers) - accepted} == {507}
    assert not ready(system)

    kill_ministack(system)
    wait_for(lambda: set(states(system, batch)) == accepted, SECONDS, lambda: f"{states(system, batch)} of {accepted}")

    disk.empty()
    wait_for(lambda: ready(system), SECONDS, lambda: f"it does not get ready again: {system.text()[-3000:]}")
    for index in set(answers) - accepted:
        assert send(system, batch, index, sent[index]) == 200
    wait_for(
        lambda: states(system, batch) == dict.fromkeys(answers, "done"),
        SECONDS,
        lambda: f"not all are labelled: {states(system, batch)} {system.text()[-3000:]}",
    )
    assert system.waiting(system.settings.dead_queue) == 0
