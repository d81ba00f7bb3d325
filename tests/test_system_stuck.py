"""A worker whose receiving thread hangs beats on: the controller replaces it, and says so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from benchmarks.running import stub_engine
from benchmarks.running.system import RunningSystem
from shoal import ledger_file
from tests import hanging_receiver
from tests.waiting import wait_for
from tests.web_fixtures import jpeg

SECONDS = 120.0


@pytest.fixture
def system(tmp_path: Path) -> Iterator[RunningSystem]:
    stub_engine.prepare(tmp_path / "cache", hanging_receiver.NAME)
    system = RunningSystem(
        tmp_path / "state", MAX_INSTANCES=1, QUIET_SECONDS=300, STUCK_SECONDS=4, VISIBILITY_SECONDS=6,
        SWEEP_SECONDS=300, ENGINE=hanging_receiver.NAME, CACHE_DIR=tmp_path / "cache",
    )  # fmt: skip
    system.start()
    yield system
    system.stop(signal.SIGKILL)
    wait_for(lambda: not system.processes(), 20, "processes are left")


def label(system: RunningSystem, name: str) -> str:
    """Send a photo; its batch."""
    batch = str(requests.post(f"{system.address}/batches", timeout=30).json()["batch"])
    url = f"{system.address}/batches/{batch}/photos"
    assert requests.post(url, files={"inputFile": (name, jpeg())}, timeout=30).ok
    return batch


def done(system: RunningSystem, batch: str) -> bool:
    found = requests.get(f"{system.address}/batches/{batch}.json", timeout=30).json()["photos"]
    return [one["state"] for one in found] == ["done"]


def test_a_worker_that_takes_nothing_is_replaced_and_its_photos_are_labelled(system: RunningSystem) -> None:
    first = label(system, "first.jpg")
    wait_for(lambda: done(system, first), SECONDS, lambda: f"the first was not labelled: {system.text()[-3000:]}")
    [stuck] = system.machines()
    second = label(system, "second.jpg")
    wait_for(lambda: done(system, second), SECONDS, lambda: f"the second was not labelled: {system.text()[-3000:]}")
    assert [one["InstanceId"] for one in system.machines()] != [stuck["InstanceId"]]
    entries = list(ledger_file.read(system.state_dir / ledger_file.NAME))
    assert any(
        act.kind == "terminate" and act.machines == (stuck["InstanceId"],) and "took no photo" in act.why
        for entry in entries
        for act in entry.done
    )
    own = [system.state_dir, *system.state_dir.glob("*.json*"), *(system.state_dir / "logs").rglob("*")]
    assert len(own) > 4
    assert {path: path.stat().st_mode for path in own if path.stat().st_mode & 0o077} == {}
    page = requests.get(f"{system.address}/fleet", headers={"Accept": "text/html"}, timeout=30).text
    assert "beats and took no photo although some wait" in page
