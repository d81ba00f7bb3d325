"""The contracts of the ports: the same tests on the cloud in memory and on the embedded cloud's SQS, S3 and EC2."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from shoal.aws import connect, prepare, signed
from shoal.aws.clients import client
from shoal.aws.iam import create_role
from shoal.clock import SystemClock
from shoal.errors import BucketMissing, LeaseLost, NotFound, Permanent, Retryable
from shoal.memory import MemoryLeaseRecord, memory_cloud, memory_lease
from shoal.messages import MAX_REQUEST_BYTES
from shoal.ports import LAST_NET_DELIVERIES, Beat, Cloud, Grant, InstancePool, Lease, Received
from shoal.settings import load
from tests.waiting import wait_for as patiently

VISIBILITY_SECONDS = 3
DEADLINE_SECONDS = 20.0


@dataclass
class Kind:
    """A cloud under test."""

    cloud: Cloud
    real: bool
    prefix: str = ""


@pytest.fixture(params=["memory", "embedded"])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "memory":
        return Kind(memory_cloud(SystemClock(), VISIBILITY_SECONDS), real=False)
    request.getfixturevalue("embedded_cloud")
    settings = load(
        {
            "SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}",
            "SHOAL_VISIBILITY_SECONDS": str(VISIBILITY_SECONDS),
            "SHOAL_AMI": "empty",
            "SHOAL_INSTANCE_TYPE": "t3.micro",
        }
    )
    prepare(settings)
    prepare(settings)  # a second time is harmless
    return Kind(connect(settings, lambda: "#!/bin/sh\nexec sleep 600\n"), True, settings.prefix)


def wait_for(condition: Callable[[], object]) -> None:
    patiently(condition, DEADLINE_SECONDS, "the condition did not come true")


# JobQueue


def test_sent_messages_are_received_once_and_deleted_for_good(kind: Kind) -> None:
    queue = kind.cloud.requests
    bodies = [f"message {number} 🐟" for number in range(25)]
    before = time.time()
    queue.send(bodies)
    received: list[Received] = []
    while len(received) < 25:
        received += queue.receive(10, 1)
    assert sorted(one.body for one in received) == sorted(bodies)
    assert {one.deliveries for one in received} == {1}
    assert all(before - 5 < one.sent_at < time.time() + 5 for one in received)
    assert queue.depth().in_flight == 25
    queue.delete([one.receipt for one in received])
    assert queue.depth().total == 0
    assert queue.receive(10, 0) == []


def test_what_is_done_for_each_photo_needs_no_second_try(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls fall back on boto3's own: if they always did, nobody would see more than that they are slow."""
    succeeded: list[bool] = []
    plain = signed.call

    def noted(*arguments: Any, **named: Any) -> Any:
        answer = plain(*arguments, **named)
        succeeded.append(answer is not None)
        return answer

    monkeypatch.setattr(signed, "call", noted)
    queue = kind.cloud.requests
    queue.send(["one"], [{"upload": "0.25"}])
    receipts = [one.receipt for one in queue.receive(10, 1)]
    queue.extend(receipts, VISIBILITY_SECONDS)
    queue.delete(receipts)
    assert queue.receive(10, 0) == []
    kind.cloud.inputs.put("a photo", b"bytes", "image/jpeg")
    kind.cloud.inputs.get("a photo")
    looked_up = 1  # the queue, at its first call
    assert succeeded == [True] * (looked_up + 7) * kind.real


def test_attributes_travel_with_their_message_and_count_towards_its_size(kind: Kind) -> None:
    queue = kind.cloud.requests
    own = [{"upload": "0.25", "traceparent": f"00-{number:032x}-{number:016x}-01"} for number in range(1, 13)]
    queue.send([str(number) for number in range(1, 13)], own)
    queue.send(["bare"])
    found: dict[str, dict[str, str]] = {}
    while len(found) < 13:
        found |= {one.body: dict(one.attributes) for one in queue.receive(10, 1)}
    assert found == {str(number): one for number, one in enumerate(own, 1)} | {"bare": {}}
    if not kind.real:  # ministack counts the body alone
        with pytest.raises(Permanent):
            queue.send(["x" * (MAX_REQUEST_BYTES - 10)], [{"upload": "0.25"}])


def test_a_message_that_is_not_deleted_comes_back_then_dies(kind: Kind) -> None:
    queue, dead = kind.cloud.requests, kind.cloud.dead_letters
    queue.send(["stubborn"])
    for delivery in range(1, LAST_NET_DELIVERIES + 1):
        [received] = queue.receive(10, DEADLINE_SECONDS)
        assert received.deliveries == delivery
        queue.extend([received.receipt], 0)
    found: list[str] = []

    def buried() -> bool:
        queue.receive(10, 0)
        found.extend(one.body for one in dead.receive(10, 0))
        return bool(found)

    wait_for(buried)
    assert found == ["stubborn"]


def test_extend_keeps_a_message_away_and_zero_gives_it_back(kind: Kind) -> None:
    queue = kind.cloud.requests
    queue.send(["one"])
    [message] = queue.receive(10, 1)
    queue.extend([message.receipt], 60)
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > VISIBILITY_SECONDS + 0.5)
    assert queue.receive(10, 0) == []
    queue.extend([message.receipt], 0)
    assert [one.body for one in queue.receive(10, 1)] == ["one"]


def test_old_receipt_handles_are_passed_over(kind: Kind) -> None:
    queue = kind.cloud.requests
    queue.send(["one"])
    [first] = queue.receive(10, 1)
    queue.delete([first.receipt])
    queue.delete([first.receipt])
    queue.extend([first.receipt], 10)


def test_the_request_queue_takes_no_more_than_a_kilobyte(kind: Kind) -> None:
    kind.cloud.requests.send(["x" * MAX_REQUEST_BYTES])
    with pytest.raises(Permanent):
        kind.cloud.requests.send(["x" * (MAX_REQUEST_BYTES + 1)])


def test_a_waiting_receive_wakes_up_for_a_message(kind: Kind) -> None:
    queue = kind.cloud.responses
    threading.Timer(0.3, lambda: queue.send(["late"])).start()
    assert [one.body for one in queue.receive(10, 10)] == ["late"]


# ObjectStore


def test_objects_are_written_read_listed_and_removed(kind: Kind) -> None:
    store = kind.cloud.inputs
    for key in ("a/2", "a/1", "b/1", "a/🐟 \"'<>&+%.jpg"):
        store.put(key, key.encode(), "image/jpeg")
    store.put("a/1", b"again", "image/jpeg")
    assert store.get("a/1") == b"again"
    assert store.get("a/🐟 \"'<>&+%.jpg") == "a/🐟 \"'<>&+%.jpg".encode()
    assert [one.key for one in store.list("a/")] == ["a/1", "a/2", "a/🐟 \"'<>&+%.jpg"]
    assert [one.key for one in store.list("", after="a/2")] == ["a/🐟 \"'<>&+%.jpg", "b/1"]
    first = next(iter(store.list("a/", most=1)))
    assert first.size == 5
    assert abs(first.modified_at - time.time()) < 60
    store.delete("a/1")
    store.delete("a/1")
    with pytest.raises(NotFound):
        store.get("a/1")


def test_of_many_who_write_a_new_object_one_wins(kind: Kind) -> None:
    store = kind.cloud.inputs
    with ThreadPoolExecutor(8) as callers:
        won = list(callers.map(lambda number: store.put_new("only", str(number).encode(), "text/plain"), range(8)))
    assert sum(won) == 1
    assert store.get("only") == str(won.index(True)).encode()
    assert not store.put_new("only", b"late", "text/plain")


def test_a_listing_has_no_end_at_a_thousand(kind: Kind) -> None:
    store = kind.cloud.outputs
    for number in range(1005):
        store.put(f"many/{number:05d}", b"", "text/plain")
    assert [len(list(store.list("many/", most=most))) for most in (None, 1002, 7)] == [1005, 1002, 7]


# InstancePool


@pytest.fixture(params=["memory", "ec2", "autoscaling"])
def pool(request: pytest.FixtureRequest) -> InstancePool:
    if request.param == "memory":
        return memory_cloud(SystemClock()).pool
    request.getfixturevalue("embedded_cloud")
    environment = {
        "SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}",
        "SHOAL_AMI": "empty",
        "SHOAL_INSTANCE_TYPE": "t3.micro,t3.small",
        "SHOAL_ACTUATOR": request.param,
    }
    create_role(client("iam"), load(environment).role, environment["SHOAL_PREFIX"])
    return connect(load(environment), lambda: "#!/bin/sh\nexec sleep 600\n").pool


def test_instances_are_launched_marked_and_ended(pool: InstancePool) -> None:
    token = pool.token(3)
    names = ["app-tier-instance-1", "app-tier-instance-2", "app-tier-instance-3"]
    launched = pool.launch(names, token)
    assert [one.id for one in pool.launch(names, token)] == [one.id for one in launched]
    wait_for(lambda: {one.state for one in pool.describe()} == {"running"})
    found = pool.describe()
    assert sorted(one.name for one in found) == names
    assert {one.launch for one in found} == {token}
    assert all(abs(one.launched_at - time.time()) < 60 for one in found)
    assert {one.drain_since for one in found} == {None}

    pool.drain([found[0].id, found[1].id])
    marked = {one.id for one in pool.describe() if one.drain_since}
    assert marked == {found[0].id, found[1].id}
    pool.terminate([one.id for one in found])
    wait_for(lambda: pool.describe() == [])
    pool.terminate([found[0].id])  # again: no error
    pool.drain([])


def test_each_launch_adds_to_the_pool(pool: InstancePool) -> None:
    pool.launch(["app-tier-instance-1"], pool.token(1))
    wait_for(lambda: len(pool.describe()) == 1)
    pool.launch(["app-tier-instance-2"], pool.token(1))
    wait_for(lambda: len(pool.describe()) == 2)
    one, other = pool.describe()
    assert one.launch != other.launch
    pool.terminate([one.id])
    wait_for(lambda: [left.id for left in pool.describe()] == [other.id])
    pool.launch(["app-tier-instance-3"], pool.token(1))
    wait_for(lambda: len(pool.describe()) == 2)
    pool.terminate([left.id for left in pool.describe()])
    wait_for(lambda: pool.describe() == [])


def test_one_that_is_gone_does_not_keep_the_others(pool: InstancePool) -> None:
    pool.launch(["app-tier-instance-1"], pool.token(1))
    wait_for(pool.describe)
    [one] = pool.describe()
    pool.drain(["i-0123456789abcdef0", one.id])
    assert [found.drain_since is not None for found in pool.describe()] == [True]
    pool.terminate(["i-0123456789abcdef0", one.id])
    wait_for(lambda: pool.describe() == [])


# Register


def test_a_worker_is_known_by_its_last_beat_until_it_is_forgotten(kind: Kind) -> None:
    register = kind.cloud.register
    assert register.workers() == {}
    register.beat("i-1", Beat(1))
    register.beat(
        "i-2",
        Beat(
            7, 1, 0, 0.25, 1.5, "resnet50", leaving=True, arithmetic="int8", bulk=5, bulk_finished=700, restarted=True
        ),
    )
    register.beat("i-1", Beat(2, 5, 3, 1.125, 0.5, "resnet50"))
    assert register.workers() == {
        "i-1": Beat(2, 5, 3, 1.125, 0.5, "resnet50"),
        "i-2": Beat(
            7, 1, 0, 0.25, 1.5, "resnet50", leaving=True, arithmetic="int8", bulk=5, bulk_finished=700, restarted=True
        ),
    }
    register.forget(["i-1", "i-3"])
    assert set(register.workers()) == {"i-2"}


def test_the_lease_is_not_a_worker(kind: Kind) -> None:
    kind.cloud.lease.take("a", 10)
    assert kind.cloud.register.workers() == {}


# Lease

LEASE_SECONDS = 0.5


@pytest.fixture
def leases(kind: Kind) -> tuple[Lease, Lease]:
    """The same lease as two controllers see it."""
    if kind.real:
        return kind.cloud.lease, connect(load({"SHOAL_PREFIX": kind.prefix})).lease
    clock, place = SystemClock(), MemoryLeaseRecord()
    return memory_lease(clock, place), memory_lease(clock, place)


def test_one_holds_the_lease_and_the_next_gets_a_larger_token(leases: tuple[Lease, Lease]) -> None:
    ours, theirs = leases
    first = ours.take("a", 60)
    assert first is not None
    assert theirs.take("b", 60) is None
    assert ours.take("a", 60) == first
    ours.release("a")
    theirs.release("nobody")
    second = theirs.take("b", 60)
    assert second is not None
    assert second.token > first.token
    assert not second.seized
    assert ours.take("a", 60) is None


@pytest.mark.alone
def test_a_lease_that_is_renewed_is_never_taken_and_a_silent_one_is(leases: tuple[Lease, Lease]) -> None:
    ours, theirs = leases
    first = ours.take("a", LEASE_SECONDS)
    assert first is not None
    until = time.monotonic() + 3 * LEASE_SECONDS
    while time.monotonic() < until:
        assert ours.take("a", LEASE_SECONDS) is not None
        assert theirs.take("b", LEASE_SECONDS) is None
    began = time.monotonic()
    while (second := theirs.take("b", LEASE_SECONDS)) is None:
        assert time.monotonic() - began < DEADLINE_SECONDS
    assert time.monotonic() - began >= LEASE_SECONDS * 0.8
    assert second.seized
    assert second.token > first.token
    assert ours.take("a", LEASE_SECONDS) is None


def test_notes_reach_the_next_holder_and_an_old_token_writes_no_more(leases: tuple[Lease, Lease]) -> None:
    ours, theirs = leases
    first = ours.take("a", LEASE_SECONDS)
    assert first == Grant(first.token if first else 0, "")
    assert first is not None
    ours.note(first.token, "launching 🐟")
    assert ours.take("a", LEASE_SECONDS) == Grant(first.token, "launching 🐟")
    ours.release("a")
    with pytest.raises(LeaseLost):
        ours.note(first.token, "too late")
    second = theirs.take("b", LEASE_SECONDS)
    assert second is not None
    assert second.notes == "launching 🐟"
    with pytest.raises(LeaseLost):
        ours.note(first.token, "far too late")
    assert theirs.take("b", LEASE_SECONDS) == second


def test_only_one_of_many_takes_a_free_lease(kind: Kind) -> None:
    def take(number: int) -> Grant | None:
        return kind.cloud.lease.take(f"holder-{number}", 60)

    with ThreadPoolExecutor(8) as threads:
        grants = list(threads.map(take, range(8)))
    assert sum(grant is not None for grant in grants) == 1


@pytest.mark.usefixtures("embedded_cloud")
def test_tokens_grow_on_although_the_table_was_lost() -> None:
    settings = load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}"})
    prepare(settings)
    old, standby = connect(settings).lease, connect(settings).lease
    first = old.take("a", LEASE_SECONDS)
    assert standby.take("b", LEASE_SECONDS) is None
    client("dynamodb").delete_table(TableName=settings.pool_table)
    with pytest.raises(Retryable):
        connect(settings).register.beat("i-1", Beat(1))
    assert standby.take("b", LEASE_SECONDS) is None  # the old one may not know yet that it is held no more
    again = old.take("a", LEASE_SECONDS)  # makes the table again
    assert again is not None
    assert first is not None
    assert again.token > first.token
    client("dynamodb").delete_table(TableName=settings.pool_table)
    fresh = connect(settings).lease.take("c", LEASE_SECONDS)  # knows nothing of what was
    assert fresh is not None
    assert fresh.token > again.token
    connect(settings).register.beat("i-1", Beat(1))


def test_a_queue_tells_when_each_delivery_of_a_message_was_received(kind: Kind) -> None:
    queue = kind.cloud.terminations
    queue.send(["leave"])
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 1.0)
    [message] = queue.receive(10, 1)
    assert 0.9 < message.received_at - message.sent_at < 5
    queue.extend([message.receipt], 0)
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 1.0)
    [again] = queue.receive(10, 5)
    assert again.sent_at == message.sent_at
    assert again.received_at - message.received_at > 0.9  # nothing that a photo waited is left out


# AWS' own errors in our words


@pytest.mark.usefixtures("embedded_cloud")
def test_a_missing_queue_bucket_or_image_is_named() -> None:
    cloud = connect(load({"SHOAL_PREFIX": "nothing-here"}), lambda: "")
    with pytest.raises(NotFound, match="nothing-here-req-queue"):
        cloud.requests.depth()
    with pytest.raises(BucketMissing, match="nothing-here-in-bucket"):
        cloud.inputs.get("x")
    with pytest.raises(NotFound, match=r"nothing-here-worker.*SHOAL_AMI"):
        cloud.pool.launch(["n"], cloud.pool.token(1))


@pytest.mark.usefixtures("embedded_cloud")
def test_nobody_there_is_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
    monkeypatch.setattr("shoal.aws.clients.CONFIG", None)
    cloud = connect(load({}))
    with pytest.raises(Retryable, match="shoal-req-queue"):
        cloud.requests.depth()


@pytest.mark.usefixtures("embedded_cloud")
def test_a_changed_visibility_timeout_reaches_an_existing_queue() -> None:
    prefix = f"t{uuid.uuid4().hex[:12]}"
    prepare(load({"SHOAL_PREFIX": prefix, "SHOAL_VISIBILITY_SECONDS": "30"}))
    settings = load({"SHOAL_PREFIX": prefix, "SHOAL_VISIBILITY_SECONDS": "3"})
    prepare(settings)
    queue = connect(settings).requests
    queue.send(["one"])
    queue.receive(10, 1)
    assert [one.body for one in queue.receive(10, 10)] == ["one"]


@pytest.mark.usefixtures("embedded_cloud")
def test_only_the_controller_launches() -> None:
    pool = connect(load({"SHOAL_AMI": "empty"})).pool
    with pytest.raises(Permanent, match="only the controller"):
        pool.launch(["n"], pool.token(1))


# Replies


def test_a_web_process_has_a_response_queue_that_is_kept_and_removed(kind: Kind) -> None:
    replies = kind.cloud.replies
    common = f"{kind.prefix}-resp-queue"
    name = f"{common}-{uuid.uuid4().hex[:12]}"
    assert all(known in replies for known in ("", common, name))
    with pytest.raises(NotFound):
        replies[name].send(["nobody listens"])
    began = time.time()
    queue = replies.keep(name)
    replies[name].send(["an answer"])
    assert [one.body for one in queue.receive(10, 5)] == ["an answer"]
    replies[""].send(["to the common one"])
    assert [one.body for one in kind.cloud.responses.receive(10, 5)] == ["to the common one"]
    first = replies.kept()[name]
    assert began - 5 < first < time.time() + 5

    def kept_again() -> bool:
        replies.keep(name)
        return replies.kept()[name] > first

    wait_for(kept_again)
    assert queue.depth().total == 1  # what was in it is in it still
    replies.remove(name)
    replies.remove(name)
    assert name not in replies.kept()
    with pytest.raises(NotFound):
        replies[name].send(["nobody listens any more"])


@pytest.mark.usefixtures("embedded_cloud")
def test_only_response_queues_of_web_processes_of_this_shoal_are_named_or_removed() -> None:
    prefix = f"t{uuid.uuid4().hex[:12]}"
    settings = load({"SHOAL_PREFIX": prefix})
    prepare(settings)
    other = f"{settings.resp_queue}-copy"
    client("sqs").create_queue(QueueName=other)
    replies = connect(settings).replies
    own = f"{settings.resp_queue}-0123456789ab"
    replies.keep(own)
    assert list(replies.kept()) == [own]
    for name in (settings.req_queue, other, f"x{own}", f"{own}0", settings.resp_queue.upper()):
        assert name not in replies
    for name in (settings.resp_queue, other, settings.req_queue):
        with pytest.raises(Permanent):
            replies.remove(name)
    assert connect(settings).responses.depth().total == 0
