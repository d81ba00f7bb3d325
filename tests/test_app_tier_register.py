"""A worker tells the register that it lives: at once, again and again, while it drains, and once when it has ended."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app_tier.register import Registration, started_before
from shoal.errors import Retryable
from shoal.lifecycle import StopSignal
from shoal.memory import MemoryRegister
from shoal.ports import Beat
from tests.app_tier_fixtures import ToldProgress
from tests.waiting import wait_for

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 10.0


def registered(register: MemoryRegister, progress: ToldProgress, stop: StopSignal, every: float = 0.01) -> Registration:
    return Registration(
        register,
        "i-1",
        progress,
        "resnet50",
        1.5,
        every,
        stop,
        "int8",
        bulk=lambda: 2,
        bulk_finished=lambda: 90,
        restarted=True,
    )


def test_beats_follow_the_work_and_go_on_while_it_drains() -> None:
    register, progress, stop = MemoryRegister(), ToldProgress(), StopSignal()
    with registered(register, progress, stop):
        wait_for(register.workers, DEADLINE_SECONDS, "no first beat")
        progress.dropped, progress.finished, progress.in_progress, progress.busy_seconds = 5, 7, 3, 2.5
        wait_for(lambda: register.workers()["i-1"].finished == 7, DEADLINE_SECONDS, "no later beat")
        beat = register.workers()["i-1"]
        assert beat.peak_bytes > 10_000_000
        assert replace(beat, peak_bytes=0) == Beat(
            beat.count,
            7,
            3,
            2.5,
            1.5,
            "resnet50",
            arithmetic="int8",
            dropped=5,
            bulk=2,
            bulk_finished=90,
            restarted=True,
        )
        stop.stop("drain mark")
        wait_for(lambda: register.workers()["i-1"].leaving, DEADLINE_SECONDS, "it does not tell that it leaves")
        drained = register.workers()["i-1"].count
        wait_for(lambda: register.workers()["i-1"].count > drained + 2, DEADLINE_SECONDS, "no beats while it drains")
        progress.finished, progress.in_progress = 9, 0  # finished after the beats that were seen
    last = register.workers()["i-1"]
    assert (last.finished, last.in_progress, last.leaving) == (9, 0, True)


def test_neither_the_first_nor_the_last_beat_waits() -> None:
    register, progress = MemoryRegister(), ToldProgress()
    with registered(register, progress, StopSignal(), every=3600):
        wait_for(register.workers, DEADLINE_SECONDS, "no first beat")
        progress.finished = 3
    assert register.workers()["i-1"].finished == 3


class Unreachable(MemoryRegister):
    down = True

    def beat(self, worker: str, beat: Beat) -> None:
        if self.down:
            raise Retryable("no route")
        super().beat(worker, beat)


def test_a_register_that_cannot_be_reached_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    register, work = Unreachable(), ToldProgress()
    with caplog.at_level(logging.WARNING):
        with registered(register, work, StopSignal()) as registration:
            wait_for(lambda: caplog.text, DEADLINE_SECONDS, "nothing was said")
            for _ in range(5):
                registration.step()
            register.down = False
            wait_for(register.workers, DEADLINE_SECONDS, "it did not go on")
            register.down = True
        assert caplog.text.count("cannot tell the register") == 1
        assert "could not tell the register what this worker finished last" in caplog.text


def test_a_second_start_since_the_boot_is_known(tmp_path: Path) -> None:
    """The script notes it: a process may be killed before it can."""
    for folder in ("opt/shoal", "etc/shoal", "run"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/shoal/image.env").write_text("SHOAL_PYTHON=true\n")
    known = []
    for _ in range(3):
        start = [str(ROOT / "ami" / "start-worker"), "unit"]
        subprocess.run(start, env={**os.environ, "INSTANCE_ROOT": str(tmp_path)}, check=True, timeout=60)
        known.append(started_before(tmp_path / "run" / "shoal-worker"))
    assert known == [False, True, True]
    assert not started_before(None)


def test_the_start_of_the_process_counts_from_before_python() -> None:
    script = "import time; time.sleep(0.5); from app_tier.register import seconds_alive; print(seconds_alive())"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0.5 <= float(done.stdout) <= time.monotonic() - began + 0.02  # the kernel counts in hundredths
