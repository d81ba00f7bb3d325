"""The tick, the intents, the ledger and the sweeper, on the cloud in memory with a clock turned by hand."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from controller import ledger as ledgers
from controller.boot_file import render
from controller.intents import Intents
from controller.ledger import Ledger
from controller.plan import Drain, Launch
from controller.policies.per_message import policy
from controller.policy import Intent, Limits
from controller.reconciler import Reconciler
from controller.sweeper import GIVEN_UP, Sweeper
from shoal.errors import Permanent, Retryable
from shoal.memory import ManualClock, MemoryPool, MemoryQueue, memory_cloud
from shoal.messages import Job, Result, new_batch
from shoal.ports import Depth, Instance

QUIET = 10.0
LAUNCH = 30.0


class World:
    """A cloud in memory and a controller that can be killed and started again."""

    def __init__(self, folder: Path, boot_seconds: float = 0.0) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.queue = MemoryQueue(self.clock)
        self.pool = MemoryPool(self.clock, boot_seconds)
        self.limits = Limits(0, 15, QUIET)
        self.start()

    def start(self) -> None:
        self.intents = Intents(self.folder / "intents.json", LAUNCH)
        self.controller = Reconciler(
            self.queue,
            self.pool,
            policy,
            self.limits,
            Ledger(self.folder / "ledger.jsonl"),
            self.intents,
            self.clock,
            60.0,
        )
        self.controller.resume()

    def tick(self, times: int = 1, seconds: float = 1.0) -> ledgers.Entry | None:
        entry = None
        for _ in range(times):
            entry = self.controller.tick()
            self.clock.wait(seconds)
        return entry

    def sentences(self) -> list[str]:
        return [entry["sentence"] for entry in ledgers.read(self.folder / "ledger.jsonl")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def send(queue: MemoryQueue, count: int) -> None:
    queue.send(["x"] * count)


def finish(world: World, count: int) -> None:
    done = 0
    while done < count:
        taken = world.queue.receive(min(10, count - done), 0)
        world.queue.delete([one.receipt for one in taken])
        done += len(taken)


def test_the_pool_goes_from_0_to_15_to_0(world: World) -> None:
    world.tick()
    assert world.pool.describe() == []
    send(world.queue, 100)
    world.tick()
    assert [one.name for one in world.pool.describe()] == [f"app-tier-instance-{n}" for n in range(1, 16)]
    world.tick(5)
    assert len(world.pool.describe()) == 15
    finish(world, 100)
    world.tick(int(QUIET))
    assert not [one for one in world.pool.describe() if one.drain_since]
    world.tick(2)
    assert len([one for one in world.pool.describe() if one.drain_since]) == 15
    assert "drain 15" in world.sentences()[-1]


def test_a_launch_that_does_not_show_up_yet_is_not_repeated(world: World) -> None:
    send(world.queue, 5)
    shown = world.pool.describe
    world.pool.describe = list  # type: ignore[method-assign]
    world.tick(5)
    world.pool.describe = shown  # type: ignore[method-assign]
    assert len(world.pool.describe()) == 5
    world.tick()
    assert world.intents.all() == ()


def test_a_launch_that_never_shows_up_is_made_again(world: World) -> None:
    send(world.queue, 5)
    launch = world.pool.launch
    world.pool.launch = lambda names, token: [Instance(name, name, "pending", 0) for name in names]  # type: ignore[method-assign]
    world.tick(2)
    world.pool.launch = launch  # type: ignore[method-assign]
    world.tick(int(LAUNCH))
    assert len(world.pool.describe()) == 5


def test_killed_between_intent_and_launch(world: World) -> None:
    send(world.queue, 5)
    world.intents.add(Intent("token", tuple("abcde"), world.clock.now()))
    world.start()
    world.tick(3)
    assert len(world.pool.describe()) == 5
    assert {one.launch for one in world.pool.describe()} == {"token"}


def test_killed_between_launch_and_answer(world: World) -> None:
    send(world.queue, 5)
    world.intents.add(Intent("token", tuple("abcde"), world.clock.now()))
    world.pool.launch(tuple("abcde"), "token")
    world.start()
    world.tick(3)
    assert len(world.pool.describe()) == 5


def test_a_launch_of_long_ago_is_not_asked_for_again(world: World) -> None:
    world.intents.add(Intent("token", tuple("abcde"), world.clock.now()))
    world.clock.wait(LAUNCH + 1)
    world.start()
    world.tick(3)
    assert world.pool.describe() == []


def test_a_restart_does_not_shrink_the_pool_on_its_first_zero(world: World) -> None:
    send(world.queue, 3)
    world.tick()
    finish(world, 3)
    world.start()
    world.tick(int(QUIET))
    assert not [one for one in world.pool.describe() if one.drain_since]
    world.tick(2)
    assert len([one for one in world.pool.describe() if one.drain_since]) == 3


def test_an_unreadable_queue_is_not_an_empty_queue(world: World, caplog: pytest.LogCaptureFixture) -> None:
    send(world.queue, 3)
    world.tick()

    def unreadable() -> Depth:
        raise Retryable("no route")

    readable = world.queue.depth
    world.queue.depth = unreadable  # type: ignore[method-assign]
    with caplog.at_level(logging.INFO):
        world.tick(60)
        assert len(world.pool.describe()) == 3
        world.queue.depth = readable  # type: ignore[method-assign]
        world.tick()
    assert [record.message for record in caplog.records if "cannot see" in record.message] == [
        "cannot see the queue or the pool; holding everything as it is: no route"
    ]
    assert "can be seen again" in caplog.text


def test_missing_capacity_is_told_and_tried_again(world: World) -> None:
    world.pool.capacity = 0
    send(world.queue, 3)
    entry = world.tick()
    assert entry is not None
    assert "no more than 0 instances" in entry.refused
    assert world.intents.all() == ()
    world.pool.capacity = 2
    world.tick()
    assert len(world.pool.describe()) == 2
    world.pool.capacity = 9
    world.tick()
    assert len(world.pool.describe()) == 3


def test_an_unclear_launch_counts_until_its_time_is_over(world: World) -> None:
    send(world.queue, 3)
    launch = world.pool.launch
    calls = []

    def times_out(names: tuple[str, ...], token: str) -> list[Instance]:
        calls.append(token)
        raise Retryable("timed out")

    world.pool.launch = times_out  # type: ignore[method-assign,assignment]
    world.tick(int(LAUNCH) - 1)
    assert len(calls) == 1
    world.pool.launch = launch  # type: ignore[method-assign]
    world.tick(3)
    assert len(world.pool.describe()) == 3


def test_a_refused_drain_is_told(world: World) -> None:
    send(world.queue, 1)
    world.tick()
    finish(world, 1)

    def refuse(ids: object) -> None:
        raise Permanent("not allowed")

    world.pool.drain = refuse  # type: ignore[method-assign]
    world.tick(int(QUIET) + 2)
    assert "refused: not allowed" in world.sentences()[-1]


def test_an_idle_night_is_one_line(world: World) -> None:
    world.tick(1000)
    assert len(world.sentences()) == 1


def test_the_ledger_explains_in_words_and_numbers(world: World) -> None:
    send(world.queue, 100)
    world.tick(2)
    first, second = ledgers.read(world.folder / "ledger.jsonl")
    assert first["sentence"] == (
        "backlog 100, 0 running. 100 waiting, 0 in work: need 100; cap 15 -> desired 15: launch 15"
    )
    assert (first["visible"], first["desired"], first["acts"][0]["act"]) == (100, 15, "launch")
    assert "15 running" in second["sentence"]


def test_the_ledger_is_bounded_and_survives_a_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "MAX_BYTES", 2000)
    world = World(tmp_path)
    for _ in range(30):
        send(world.queue, 1)
        world.tick()
    path = tmp_path / "ledger.jsonl"
    assert path.stat().st_size < 20_000
    assert (tmp_path / "ledger.jsonl.1").exists()
    with path.open("a") as file:
        file.write('{"cut short')
    assert ledgers.read(path)
    assert ledgers.read(tmp_path / "none") == []


def test_entries_name_what_they_do() -> None:
    assert ledgers._words(Launch(("a", "b"))) == "launch 2"
    assert ledgers._words(Drain(("a",))) == "drain 1"


def test_the_boot_file_carries_the_settings_safely() -> None:
    text = render({"SHOAL_PREFIX": "a b'; rm -rf /", "SHOAL_MODEL": "resnet50"})
    assert text.startswith("#!/bin/bash")
    assert "SHOAL_MODEL=resnet50\n" in text
    assert "SHOAL_PREFIX='a b'\"'\"'; rm -rf /'\n" in text
    assert len(text.encode()) < 16_384  # EC2's limit for user data


# The sweeper


AFTER = 60.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def job_at(clock: ManualClock, index: int = 0) -> Job:
    return Job(new_batch(clock.now()), index, "cat.jpg", "replies")


def test_a_forgotten_photo_is_queued_again_when_it_is_old_enough(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    sweeper = Sweeper(cloud, clock, "replies", AFTER, days=4)
    forgotten, answered = job_at(clock, 1), job_at(clock, 2)
    for job in (forgotten, answered):
        cloud.inputs.put(job.key, b"photo", "image/jpeg")
    cloud.outputs.put(answered.key, b"{}", "application/json")
    cloud.inputs.put("not/one/of/ours", b"", "text/plain")
    cloud.inputs.put("readme.txt", b"", "text/plain")

    sweeper.sweep()
    assert cloud.requests.depth().total == 0
    clock.wait(AFTER + 1)
    sweeper.sweep()
    [message] = cloud.requests.receive(10, 0)
    assert Job.from_json(message.body) == forgotten
    sweeper.sweep()
    assert cloud.requests.depth().total == 1  # in flight: not queued a second time


def test_a_dead_letter_becomes_a_failed_result(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    job, done = job_at(clock, 1), job_at(clock, 2)
    result = Result(done.key, "done").to_json().encode()
    cloud.outputs.put(done.key, result, "application/json")
    cloud.dead_letters.send([job.to_json(), done.to_json(), "noise"])
    Sweeper(cloud, clock, "replies", AFTER, days=4).sweep()
    assert Result.from_json(cloud.outputs.get(job.key)) == Result.failed(job.key, GIVEN_UP)
    assert cloud.outputs.get(done.key) == result
    [response] = cloud.responses.receive(10, 0)
    assert Result.from_json(response.body).key == job.key
    assert cloud.dead_letters.depth().total == 0


def test_what_a_queue_lost_is_queued_again_in_tens(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    for index in range(250):
        cloud.inputs.put(job_at(clock, index).key, b"photo", "image/jpeg")
    clock.wait(AFTER + 1)
    Sweeper(cloud, clock, "replies", AFTER, days=4).sweep()
    assert cloud.requests.depth().total == 250
