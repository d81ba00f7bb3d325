"""The contracts of the ports: the same tests on the cloud in memory and on the embedded cloud's SQS, S3 and EC2."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from benchmarks.system import wait_for as patiently
from shoal.aws import connect, prepare, region
from shoal.aws.ec2 import Ec2Pool
from shoal.errors import NotFound, Permanent, Retryable
from shoal.memory import SystemClock, memory_cloud
from shoal.messages import MAX_REQUEST_BYTES
from shoal.ports import Cloud, Received
from shoal.settings import load

VISIBILITY_SECONDS = 3
DEADLINE_SECONDS = 20.0


@dataclass
class Kind:
    """A cloud under test."""

    cloud: Cloud
    real: bool


@pytest.fixture(params=["memory", "embedded"])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "memory":
        return Kind(memory_cloud(SystemClock(), VISIBILITY_SECONDS, max_deliveries=2), real=False)
    request.getfixturevalue("embedded_cloud")
    settings = load(
        {
            "SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}",
            "SHOAL_VISIBILITY_SECONDS": str(VISIBILITY_SECONDS),
            "SHOAL_MAX_DELIVERIES": "2",
            "SHOAL_AMI": "empty",
            "SHOAL_INSTANCE_TYPE": "t3.micro",
        }
    )
    prepare(settings)
    prepare(settings)  # a second time is harmless
    return Kind(connect(settings, lambda: "#!/bin/sh\nexec sleep 600\n"), real=True)


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


def test_a_message_that_is_not_deleted_comes_back_then_dies(kind: Kind) -> None:
    queue, dead = kind.cloud.requests, kind.cloud.dead_letters
    queue.send(["stubborn"])
    for delivery in (1, 2):
        received = queue.receive(10, DEADLINE_SECONDS)
        assert [one.deliveries for one in received] == [delivery]
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
    first = next(iter(store.list("a/")))
    assert first.size == 5
    assert abs(first.modified_at - time.time()) < 60
    store.delete("a/1")
    store.delete("a/1")
    with pytest.raises(NotFound):
        store.get("a/1")


def test_a_listing_has_no_end_at_a_thousand(kind: Kind) -> None:
    store = kind.cloud.outputs
    for number in range(1005):
        store.put(f"many/{number:05d}", b"", "text/plain")
    assert len(list(store.list("many/"))) == 1005


# InstancePool


def test_instances_are_launched_marked_and_ended(kind: Kind) -> None:
    pool = kind.cloud.pool
    token = uuid.uuid4().hex
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


def test_one_that_is_gone_does_not_keep_the_others(kind: Kind) -> None:
    pool = kind.cloud.pool
    [one] = pool.launch(["app-tier-instance-1"], uuid.uuid4().hex)
    pool.drain(["i-0123456789abcdef0", one.id])
    assert [found.drain_since is not None for found in pool.describe()] == [True]
    pool.terminate(["i-0123456789abcdef0", one.id])
    wait_for(lambda: pool.describe() == [])


# AWS' own errors in our words


@pytest.mark.usefixtures("embedded_cloud")
def test_a_missing_queue_bucket_or_image_is_named() -> None:
    cloud = connect(load({"SHOAL_PREFIX": "nothing-here"}), lambda: "")
    with pytest.raises(NotFound, match="nothing-here-req-queue"):
        cloud.requests.depth()
    with pytest.raises(NotFound, match="nothing-here-in-bucket"):
        cloud.inputs.get("x")
    with pytest.raises(NotFound, match=r"nothing-here-worker.*SHOAL_AMI"):
        cloud.pool.launch(["n"], "token")


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


def test_no_region_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.aws.clients._session", None)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(Permanent, match="AWS_DEFAULT_REGION"):
        region()


def test_only_the_controller_launches() -> None:
    assert Ec2Pool(lambda: None, "p", "ami-1", "t3.micro", lambda: "").image_id() == "ami-1"
