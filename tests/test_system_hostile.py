"""The whole system on a cloud whose processes are killed, and on one that lies: no accepted photo is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from benchmarks import photos
from benchmarks.running.system import ROOT, RunningSystem
from benchmarks.torture.__main__ import torture
from benchmarks.torture.account import Account
from benchmarks.torture.clients import send_all
from benchmarks.torture.trouble import Disturber
from shoal.settings import load
from tests.waiting import wait_for

COUNT = 24
GROUP = 8
RESULT_SECONDS = 240.0
GONE_SECONDS = 20.0


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [path.read_bytes() for path in photos.fetch(load().cache_dir)]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[RunningSystem]:
    system = RunningSystem(
        tmp_path / "state", POLICY="per_message", MAX_INSTANCES=2, VISIBILITY_SECONDS=6, SWEEP_SECONDS=3
    )
    yield system
    system.stop(signal.SIGKILL)
    wait_for(lambda: not system.processes(), GONE_SECONDS, "processes are left")


def send(system: RunningSystem, pictures: list[bytes]) -> set[str]:
    """Upload some photos, a group again when it was not accepted, as the page's script does; their keys."""
    batch = str(requests.post(f"{system.address}/batches", timeout=30).json()["batch"])
    keys: set[str] = set()
    for first in range(0, COUNT, GROUP):
        files = [("inputFile", (f"{n}.jpg", pictures[n])) for n in range(first, first + GROUP)]
        wait_for(lambda f=first, some=files: accepted(system, batch, f, some), 60, "a group was not accepted")  # type: ignore[misc]
        keys |= {f"{batch}/{n:05d}/{n}.jpg" for n in range(first, first + GROUP)}
    return keys


def accepted(system: RunningSystem, batch: str, first: int, files: list[tuple[str, tuple[str, bytes]]]) -> bool:
    try:
        answer = requests.post(f"{system.address}/batches/{batch}/photos?first={first}", files=files, timeout=30)
    except requests.RequestException:
        return False
    return answer.ok and {one["status"] for one in answer.json()} == {"accepted"}


def ministack(system: RunningSystem) -> int:
    """The process id of ministack, below its init."""
    init = (system.state_dir / "cloud" / "ministack.pid").read_text().strip()
    return int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])


def wait_for_results(system: RunningSystem, keys: set[str]) -> None:
    chosen = system.settings

    def all_there() -> bool:
        return keys == system.keys(chosen.out_bucket)

    wait_for(all_there, RESULT_SECONDS, lambda: f"photos were lost: {system.text()[-3000:]}", every_seconds=0.5)
    assert system.keys(chosen.in_bucket) == keys


def test_kill_9_of_the_cloud_s_processes_while_photos_come_in(system: RunningSystem, pictures: list[bytes]) -> None:
    def kill_ministack() -> None:
        os.kill(ministack(system), signal.SIGKILL)

    def kill_the_host_twice() -> None:
        first = system.part("local_cloud")
        first.kill()

        def second() -> psutil.Process | None:
            with suppress(StopIteration, psutil.Error):
                found = system.part("local_cloud")
                return found if found.pid != first.pid and found.is_running() else None
            return None

        wait_for(second, 60, "the embedded cloud is not started again")
        system.part("local_cloud").kill()  # while it starts

    def kill_everything() -> None:
        host = system.part("local_cloud")
        system.stop(signal.SIGKILL)
        host.kill()
        wait_for(lambda: not system.processes(), GONE_SECONDS, f"left: {system.processes()}")
        system.start()

    system.start()
    keys: set[str] = set()
    strikes: tuple[Callable[[], None], ...] = (kill_ministack, kill_the_host_twice, kill_everything)
    for strike in strikes:
        keys |= send(system, pictures)
        wait_for(system.workers, 60, "no worker came")
        strike()
    wait_for_results(system, keys)
    said = system.text()
    assert "ministack (S3, SQS and friends) had died and is started again" in said
    assert said.count("cloud ended (status -9); starting it again") == 2
    system.wait_until_empty()


def test_a_short_torture(tmp_path: Path) -> None:
    account = torture(1, 0.3, tmp_path / "run", rate=2.0)
    assert account.wrong == [], account.counts
    assert account.counts["photos that were shown their label"] > 0
    assert "is HOSTILE (seed 1): it fails and lies on purpose" in (tmp_path / "run" / "terminal.log").read_text()


class Unreachable:
    """A system none of whose processes can be found. found: what `ministack.pid` says."""

    def __init__(self, state_dir: Path, found: int) -> None:
        self.state_dir = state_dir
        (state_dir / "cloud").mkdir()
        (state_dir / "cloud" / "ministack.pid").write_text(str(found))

    def part(self, words: str) -> psutil.Process:
        raise StopIteration(words)

    def workers(self) -> list[psutil.Process]:
        raise RuntimeError("on purpose")


def test_trouble_that_ends_early_is_a_fault_of_the_run_and_a_process_that_is_away_is_none(tmp_path: Path) -> None:
    account = Account()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as childless:
        system = Unreachable(tmp_path, childless.pid)
        trouble = Disturber(system, account, random.Random(3), None, lambda _: False)  # type: ignore[arg-type]
        with pytest.raises(StopIteration):
            trouble._process("storage")
        trouble.run(60.0, 0.001)
    assert account.wrong == ["the trouble ended early: RuntimeError('on purpose')"]


def test_a_torture_that_is_interrupted_waits_for_no_client() -> None:
    over = threading.Event()

    class Waiting:
        """Clients that go on until the run is broken off, which it is while the third comes."""

        started = 0

        def alive(self) -> bool:
            if self.started == 2:
                raise KeyboardInterrupt
            return True

        def one(self, _choice: random.Random) -> None:
            self.started += 1
            assert over.wait(60)

    with pytest.raises(KeyboardInterrupt):
        send_all(Waiting(), random.Random(1), 60.0, 8, over)  # type: ignore[arg-type]
    assert over.is_set()


def test_a_fault_that_there_is_not_is_one_clear_line(tmp_path: Path) -> None:
    system = RunningSystem(tmp_path / "state", ["--hostile", "1", "--hostile-only", "bad-luck"])
    done = subprocess.run(
        [sys.executable, "-m", "shoal_cli", "up", "--hostile", "1", "--hostile-only", "bad-luck"],
        cwd=ROOT, env=system.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "there is no fault named bad-luck" in done.stdout + done.stderr
