"""A worker that holds messages and is done with none of them ends; the photo at which it hung is then tried alone."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from app_tier.stall import LOOKS, StallWatch
from benchmarks.cold_start import Queues
from benchmarks.running import stub_engine
from benchmarks.running.processes import embedded_cloud, prepare, running
from runs.records import RunRecords, state_of
from runs.rows import BulkRow
from runs.run import Run, results_key
from runs.steering import Steering
from shoal import settings
from shoal.aws import connect
from shoal.buckets.suspects import GIVEN_UP
from shoal.clock import SystemClock
from shoal.memory import memory_cloud
from shoal.messages import new_batch
from tests.app_tier_fixtures import DEADLINE_SECONDS, NamingRecogniser, put, short_polls, wait_for, working
from tests.web_fixtures import jpeg

pytestmark = pytest.mark.usefixtures(short_polls.__name__)

# Computes nothing, and hangs at every photo: the worker's own warm-up is black.
HANGING = """
import threading
from benchmarks.running.stub_engine import StubEngine, _LoadedStub

class Hanging(_LoadedStub):
    def infer(self, batch):
        return threading.Event().wait() if batch.any() else super().infer(batch)

class Engine(StubEngine):
    def load(self, model, folder, threads=None, precision="float32"):
        return Hanging()

ENGINE = Engine()
"""


class LookedAt:
    """Has so many messages in progress. At each look one more has left, until it is told to hang."""

    finished, dropped, busy_seconds, idle_since = 0, 0, 0.0, None
    received, waits_for_store, tries_alone = 0, False, False

    def __init__(self, in_progress: int) -> None:
        self.in_progress = in_progress
        self.looks = 0
        self.hangs = False

    @property
    def let_go(self) -> int:
        if not self.hangs:
            self.looks += 1
        return self.looks


def test_a_worker_that_gets_on_is_left_alone_and_one_that_does_not_is_ended() -> None:
    progress, ended = LookedAt(in_progress=1), threading.Event()
    with StallWatch(progress, 0.05, ended.set):
        wait_for(lambda: progress.looks > 3 * LOOKS)
        assert not ended.is_set()
        progress.hangs = True
        assert ended.wait(DEADLINE_SECONDS)


def test_a_worker_that_holds_nothing_may_wait_for_ever() -> None:
    class Idle(LookedAt):
        @property
        def let_go(self) -> int:
            self.looks += 1
            return 0

    progress, ended = Idle(in_progress=0), threading.Event()
    with StallWatch(progress, 0.05, ended.set):
        wait_for(lambda: progress.looks > 3 * LOOKS)
    assert not ended.is_set()


def test_an_engine_that_hangs_is_seen_and_a_slow_one_is_not() -> None:
    cloud, recogniser, ended = memory_cloud(SystemClock()), NamingRecogniser(), threading.Event()
    put(cloud, *[b"photo"] * 50)
    with working(cloud, recogniser) as worker, StallWatch(worker, 0.5, ended.set):
        wait_for(lambda: worker.finished == 50)
        assert worker.let_go == 50
        assert not ended.is_set()
        recogniser.gate.clear()
        put(cloud, b"hangs")
        assert ended.wait(DEADLINE_SECONDS)


def test_its_process_ends_and_the_next_tries_its_photos_alone_until_they_are_labelled_or_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    stub_engine.prepare(tmp_path / "cache", "hanging:ENGINE")
    command, log = [sys.executable, "-m", "app_tier"], tmp_path / "worker.log"
    with embedded_cloud(tmp_path) as cloud:
        environment = cloud | {
            "SHOAL_VISIBILITY_SECONDS": "3",
            "SHOAL_STALL_SECONDS": "2",
            "SHOAL_MAX_DELIVERIES": "2",
            "SHOAL_ENGINE": "hanging:ENGINE",
            "SHOAL_RUN_DIR": str(tmp_path),
            "SHOAL_CACHE_DIR": str(tmp_path / "cache"),
            "PYTHONPATH": str(tmp_path),
        }
        prepare(environment, tmp_path / "prepare.log")
        for name, value in cloud.items():
            monkeypatch.setenv(name, value)
        chosen = settings.load(environment)
        everything = connect(chosen)
        for name, body in (("black", jpeg((0, 0, 0))), ("other", jpeg())):
            everything.inputs.put(f"whole/{name}.jpg", body, "image/jpeg")
        run = Run(new_batch(1_700_000_000.0), f"s3://{chosen.in_bucket}/whole/", chosen.in_bucket, "whole/")
        Steering(everything).start(run)
        with running(command, environment, log) as process:
            assert process.wait(DEADLINE_SECONDS) == 1  # at a shard: no photo of a person is there
        assert "nothing was done with the messages held for 2 s: this worker ends" in log.read_text()
        log.write_text("")
        queues = Queues(environment)
        queues.fill([jpeg(), jpeg((0, 0, 0))])
        with running(command, environment, log) as process:
            assert process.wait(DEADLINE_SECONDS) == 1
        assert "hanging.py" in log.read_text()  # in the stack of the thread that hangs
        with running(command, environment, log) as process:
            results = [result for _, result in queues.collect(2)]
            wait_for(lambda: state_of(RunRecords(everything.outputs), run.id)[0] == "done")
            assert process.poll() is None
        rows = everything.outputs.get(results_key(run.id, 0)).splitlines()
    assert {one.error for one in results} == {"", GIVEN_UP}
    assert [BulkRow.from_line(line).result.error for line in rows] == ["", GIVEN_UP]
