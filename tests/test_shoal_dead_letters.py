"""Dead letters that are not ours, and entries of the register that are not beats: each is passed over by itself."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from controller.sweeper import Sweeper
from shoal import dead_letters
from shoal.aws.clients import Service
from shoal.aws.dynamodb import DynamoRegister
from shoal.buckets import deleted_batches, failures, foreign_messages, suspects
from shoal.buckets.failures import Failure
from shoal.buckets.suspects import GIVEN_UP
from shoal.clock import SystemClock
from shoal.errors import Permanent
from shoal.memory import ManualClock, MemoryQueue, memory_cloud
from shoal.messages import Job, Result, new_batch
from shoal.ports import Beat, Cloud, Received
from shoal_cli._batches import dlq

GOOD = Job("0" * 20, 0, "cat.jpg", "replies")
SURROGATE = f'{{"v":1,"key":"{GOOD.key}\ud800","reply_to":"replies"}}'
ESCAPED = SURROGATE.replace("\ud800", "\\ud800")
HOSTILE = [SURROGATE, ESCAPED, "[" * 1020, "\x1b[2J\x07"]


class Letters(MemoryQueue):
    """Gives these letters once; unlike a real queue it takes any text."""

    def __init__(self, bodies: list[str]) -> None:
        super().__init__(ManualClock())
        self.left = [Received(body, f"r{number}", 6, 1.0, 2.0, {}) for number, body in enumerate(bodies)]
        self._given = False

    def receive(self, max_messages: int, wait_seconds: float) -> list[Received]:
        self._given = not self._given
        return list(self.left) if self._given else []

    def delete(self, receipts: Any) -> None:
        self.left = [letter for letter in self.left if letter.receipt not in receipts]


def cloud_with(bodies: list[str]) -> Cloud:
    return replace(memory_cloud(SystemClock()), dead_letters=Letters(bodies))


def test_the_sweeper_keeps_what_is_not_ours_and_answers_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    cloud = cloud_with([*HOSTILE, GOOD.to_json()])
    Sweeper(cloud, SystemClock(), "replies", 60.0, days=4).sweep()
    assert Result.from_json(cloud.outputs.get(GOOD.key)) == Result.failed(GOOD.key, GIVEN_UP)
    assert cast(Letters, cloud.dead_letters).left == []
    assert all(line.isprintable() for line in caplog.text.splitlines())
    kept = {message.body: message.reason for message in foreign_messages.kept(cloud.outputs)}
    assert set(kept) == {ESCAPED, *HOSTILE[1:]}  # a lone surrogate is kept as its escape
    assert all("not a message" in reason or "not the key of a job" in reason for reason in kept.values())


TEST_EVENT = '{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"in"}'


def test_foreign_messages_are_listed_with_their_reason_until_a_person_purges_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud = cloud_with([TEST_EVENT, "[]", '{"v":2,"key":"k"}', "[]"])
    monkeypatch.setattr(dlq, "_cloud", lambda: cloud)
    Sweeper(cloud, SystemClock(), "replies", 60.0, days=4).sweep()

    listed = CliRunner().invoke(dlq.command, ["list"], catch_exceptions=False)
    again = CliRunner().invoke(dlq.command, ["list"], catch_exceptions=False)
    purged = CliRunner().invoke(dlq.command, ["purge", "--yes"], catch_exceptions=False)

    lines = listed.stdout.splitlines()
    assert len(lines) == 3  # the same message twice is kept once
    assert again.stdout == listed.stdout
    assert any("s3:TestEvent" in line and "another version" in line for line in lines)
    assert any("no JSON object" in line and line.endswith("'[]'") for line in lines)
    assert "0 dead letters, 3 kept messages not of Shoal" in listed.stderr
    assert "3 messages not of Shoal deleted" in purged.stdout
    assert foreign_messages.count(cloud.outputs) == 0


def test_a_letter_that_breaks_is_told_once_and_left_and_the_rest_is_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = Job("0" * 20, 1, "dog.jpg", "replies")
    cloud = cloud_with([other.to_json(), GOOD.to_json()])
    put = cloud.outputs.put

    def breaks(key: str, body: bytes, kind: str) -> None:
        if key == other.key:
            raise RuntimeError("no such thing")
        put(key, body, kind)

    monkeypatch.setattr(cloud.outputs, "put", breaks)
    sweeper = Sweeper(cloud, SystemClock(), "replies", 60.0, days=4)
    sweeper.sweep()
    sweeper.sweep()
    assert [one.body for one in cast(Letters, cloud.dead_letters).left] == [other.to_json()]
    assert cloud.outputs.get(GOOD.key)
    assert caplog.text.count("passes over") == 1


def test_a_key_that_the_queue_refuses_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    jobs = [Job(new_batch(clock.now()), index, "cat.jpg", "replies") for index in range(3)]
    for job in jobs:
        cloud.inputs.put(job.key, b"photo", "image/jpeg")
    send = cloud.requests.send

    def refuses(bodies: list[str]) -> None:
        if jobs[1].to_json() in bodies:
            raise Permanent("InvalidMessageContents")
        send(bodies)

    monkeypatch.setattr(cloud.requests, "send", refuses)
    clock.wait(61)
    Sweeper(cloud, clock, "replies", 60.0, days=4).sweep()
    assert {Job.from_json(one.body) for one in cloud.requests.receive(10, 0)} == {jobs[0], jobs[2]}
    assert "InvalidMessageContents" in caplog.text


def test_bad_letters_are_shown_escaped_and_the_rest_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlq, "_cloud", lambda: cloud_with([*HOSTILE, GOOD.to_json()]))
    done = CliRunner().invoke(dlq.command, ["list"], catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("not a message of Shoal")]) == len(HOSTILE)
    assert any(line.startswith(f"{GOOD.key}, delivered 6 times: ") for line in lines)
    assert all(line.isprintable() for line in lines)


def test_only_jobs_go_to_the_workers_again() -> None:
    cloud = cloud_with([*HOSTILE, GOOD.to_json()])
    assert dead_letters.redrive(cloud) == 1
    assert [one.body for one in cloud.requests.receive(10, 0)] == [GOOD.to_json()]
    assert [one.body for one in cast(Letters, cloud.dead_letters).left] == HOSTILE


def test_an_entry_of_the_register_that_is_no_beat_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    numbers = {name: {"N": "1"} for name in ("count", "finished", "in_progress", "busy_seconds", "ready_seconds")}
    good = {"id": {"S": "i-1"}, **numbers, "model": {"S": "resnet50"}, "leaving": {"BOOL": False}}
    wrong = [{"id": {"S": "i-2"}}, *({**good, "count": {"N": text}} for text in ("nan", "1e400", "x"))]
    pages = SimpleNamespace(paginate=lambda **_: [{"Items": [*wrong, good]}])
    service = SimpleNamespace(client=SimpleNamespace(get_paginator=lambda _: pages))
    register = DynamoRegister(cast(Service, service), "table")
    with caplog.at_level(logging.WARNING):
        assert register.workers() == register.workers() == {"i-1": Beat(1, 1, 1, 1.0, 1.0, "resnet50")}
    assert caplog.text.count("passed over 4 entries") == 1


def test_one_letter_is_sent_again_or_deleted_and_each_says_why_it_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = memory_cloud(SystemClock())
    jobs = [Job("0" * 20, number, "cat.jpg", "replies") for number in range(3)]
    cloud.dead_letters.send([job.to_json() for job in jobs])
    suspects.count(cloud.outputs, jobs[1].key)
    monkeypatch.setattr(dlq, "_cloud", lambda: cloud)

    def run(*words: str) -> str:
        return CliRunner().invoke(dlq.command, [*words], catch_exceptions=False).output

    listed = run("list")
    assert f"{jobs[1].key}, delivered 1 times: it ended a worker or broke its engine 1 times" in listed
    assert listed.count("ended without a word: see the workers' logs for its key") == 2
    assert run("redrive", jobs[1].key) == "1 message sent to the request queue again\n"
    assert run("purge", "--yes", jobs[0].key) == "1 dead letter deleted\n"
    assert [letter.key for letter in dead_letters.look(cloud)] == [jobs[2].key]
    assert [dead_letters.key_of(letter.body) for letter in cloud.requests.receive(10, 0)] == [jobs[1].key]


FAILURE = Failure("the engine said \x1b[2J", 1_780_000_000.0, "app-tier-instance-3", 7)


@pytest.mark.parametrize("found_anew", ["", "done", "failed"])
def test_an_answered_letter_is_kept_with_its_workers_error_and_sent_again_once(found_anew: Any) -> None:
    cloud = memory_cloud(SystemClock())
    failures.note(cloud.outputs, GOOD.key, FAILURE)
    cloud.dead_letters.send([GOOD.to_json()])
    Sweeper(cloud, SystemClock(), "replies", 60.0, days=4).sweep()
    assert cloud.dead_letters.depth().total == 0

    [letter] = dead_letters.look(cloud)
    assert (letter.key, letter.body, letter.answered) == (GOOD.key, GOOD.to_json(), True)
    assert letter.cause == ("the engine said \\x1b[2J (delivery 7, 2026-05-28 20:26:40 UTC, app-tier-instance-3)")
    if found_anew:
        cloud.outputs.put(GOOD.key, Result(GOOD.key, found_anew, error="x").to_json().encode(), "application/json")
    assert dead_letters.redrive(cloud, ["another"]) == 0
    assert dead_letters.redrive(cloud, [GOOD.key]) == (found_anew != "done")

    assert [one.body for one in cloud.requests.receive(10, 0)] == [GOOD.to_json()] * (found_anew != "done")
    assert bool(list(cloud.outputs.list(GOOD.key))) == (found_anew == "done")
    assert dead_letters.look(cloud) == []


def test_an_answered_letter_goes_with_a_purge_and_with_its_batch() -> None:
    cloud = memory_cloud(SystemClock())
    jobs = [Job(new_batch(time.time() + index), index, "cat.jpg", "replies") for index in range(2)]
    for job in jobs:
        failures.note(cloud.outputs, job.key, FAILURE)
        failures.bury(cloud.outputs, job.key, job.to_json(), 100)
    cloud.outputs.put(f"{failures.BURIED}/{GOOD.key}", b'{"body": 1}', "application/json")
    assert [letter.body for letter in dead_letters.look(cloud)] == ["", *(job.to_json() for job in jobs)]
    assert dead_letters.purge(cloud, [jobs[0].key]) == 1
    deleted_batches.purge(cloud.inputs, cloud.outputs, jobs[1].batch)
    assert [letter.key for letter in dead_letters.look(cloud)] == [GOOD.key]
    assert dead_letters.redrive(cloud) == 0  # it cannot be read
    assert [one.key for one in cloud.outputs.list("") if jobs[1].batch in one.key] == []


def test_dead_letters_can_be_looked_at_and_purged() -> None:
    cloud = memory_cloud(SystemClock())
    cloud.dead_letters.send([str(number) for number in range(25)])
    assert len(dead_letters.look(cloud)) == 25
    assert cloud.dead_letters.depth().visible == 25
    assert dead_letters.purge(cloud) == 25
    assert dead_letters.look(cloud) == []
