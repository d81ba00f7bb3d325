"""How far a run is, how fast it goes and when it ends, told by its marks; and what failed, labelled once more."""

from __future__ import annotations

import pytest

from runs.handling import Handling, Labelled
from runs.manifest import Manifest
from runs.orders import read_order
from runs.pace import MOST_POINTS, RunPace
from runs.progress import ProgressReader, RunProgress
from runs.records import DoneShard, RunRecords
from runs.rows import BulkRow
from runs.run import Run, again
from runs.steering import Steering
from shoal.memory import ManualClock, memory_cloud
from shoal.messages import Label, Result, new_batch
from shoal.ports import Cloud

SMALL = 50  # bytes: smaller photos fail at the first try


def label(run: Run, manifest: Manifest) -> Labelled:
    rows = []
    for one in manifest.entries:
        bad = one.size < SMALL and not run.source.startswith("failed")
        result = Result.failed(one.key, "cut off") if bad else Result(one.key, "done", (Label("cat", "", 0.5),))
        rows.append(BulkRow(one, result))
    return Labelled(rows, 5.0)


def work(cloud: Cloud, clock: ManualClock, messages: int = 1000) -> None:
    """Handle so many messages, ten seconds each."""
    handling = Handling(cloud, label)
    for _ in range(messages):
        for message in (received := cloud.bulk.receive(1, 0)):
            clock.wait(10)
            handling.handle(read_order(message.body))
            cloud.bulk.delete([message.receipt])
        if not received:
            return


def test_speed_and_time_left_are_those_of_the_marks_for_every_reader() -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    for number in range(100):
        cloud.buckets["photos"].put(f"{number:03d}.jpg", b"." * (number + 1), "image/jpeg")
    run = Run(new_batch(clock.now()), "s3://photos", "photos", "", "s3://labels", shard_images=10, price_per_hour=0.36)
    Steering(cloud).start(run)

    def look() -> RunProgress:
        return ProgressReader(RunRecords(cloud.outputs), run, clock.now).look()

    reader = ProgressReader(RunRecords(cloud.outputs), run, clock.now)
    assert (look().state, look().images_per_second, look().seconds_left) == ("listing", 0.0, None)
    work(cloud, clock, 1 + 4)
    progress = reader.look()
    assert progress == look()
    assert (progress.done, progress.failed, progress.images_per_second) == (40, 40, 40 / 50)
    assert progress.seconds_left == 60 / (40 / 50)
    assert progress.curve[0] == (run_began := progress.began, 0)
    assert progress.curve[-1] == (run_began + 50, 40)
    assert progress.to_dict()["seconds_left"] == 75.0
    assert progress.expected_cost
    assert progress.cost < progress.expected_cost
    clock.wait(3600)  # it stands still, so nobody knows when it ends
    assert (look().images_per_second, look().seconds_left) == (0.0, None)
    work(cloud, clock)
    ended = reader.look()
    assert ended == look()
    assert (ended.state, ended.done, ended.failed, ended.seconds_left) == ("done", 100, 49, None)
    assert 0 < ended.images_per_second < 0.03
    assert ended.cost == ended.expected_cost == pytest.approx(progress.expected_cost, rel=0.01)

    retried = again(run, new_batch(clock.now()))
    Steering(cloud).start(retried)  # nobody looks on: the workers find what failed
    work(cloud, clock)
    told = ProgressReader(RunRecords(cloud.outputs), retried, clock.now).look()
    assert (told.state, told.done, told.failed) == ("done", 49, 0)


def test_a_curve_of_many_shards_has_few_points_and_its_last() -> None:
    pace = RunPace(1000.0)
    for shard in range(10_000):
        pace.note(DoneShard(shard, 100, 0, 1.0, 1001.0 + shard))
    curve = pace.curve()
    assert len(curve) <= MOST_POINTS + 1
    assert curve[-1] == (11_000.0, 1_000_000)
    assert pace.images_per_second(11_000.0) == 100.0
