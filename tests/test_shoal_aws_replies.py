"""Response queues: what nobody can read is told and gone, and what nobody deletes becomes a dead letter."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from shoal.aws import connect, prepare
from shoal.messages import Job, Result, new_batch
from shoal.ports import Cloud, JobQueue
from shoal.settings import load
from tests.waiting import until
from web_tier.results.collector import Collector
from web_tier.results.hub import Hub

HOSTILE = (
    "noise", "[" * 1020, "{}", "null", '{"v":1,"key":null}', '{"v":1,"key":"\\ud800"}', '{"v":1e999}', "\u202e{",
    '{"v":99}',
)  # fmt: skip
DELIVERIES = 2


@pytest.fixture
def cloud(embedded_cloud: object) -> Cloud:
    settings = replace(load(), prefix=f"r{uuid.uuid4().hex[:8]}", max_deliveries=DELIVERIES, visibility_seconds=1)
    prepare(settings)
    return connect(settings)


def queues(cloud: Cloud) -> dict[str, JobQueue]:
    return {"common": cloud.responses, "own": cloud.replies.keep(f"{cloud.responses.name}-{uuid.uuid4().hex[:12]}")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["common", "own"])
def test_hostile_responses_are_told_and_never_come_back(
    cloud: Cloud, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue, hub = queues(cloud)[kind], Hub()
    good = Result(Job(new_batch(1e9), 0, "a.jpg", "").key, "done")
    for body in (*HOSTILE, good.to_json()):
        queue.send([body])
    collector = Collector(queue, hub)
    with hub.listen(Job.from_key(good.key, "").batch) as listener:
        until(lambda: collector.collect(0) == 0 and queue.depth().total == 0)
        assert [one.key for one in listener.take(0).results] == [good.key]
    for body in HOSTILE:
        assert ascii(body[:300]) in caplog.text
    assert cloud.dead_letters.depth().total == 0


@pytest.mark.parametrize("kind", ["common", "own"])
def test_a_response_that_is_never_deleted_becomes_a_dead_letter(cloud: Cloud, kind: str) -> None:
    """As when a message ends the process that reads it."""
    queue = queues(cloud)[kind]
    queue.send(["poison"])

    def given_up() -> bool:
        for one in queue.receive(10, 0):
            queue.extend([one.receipt], 0)
        return queue.depth().total == 0

    until(given_up)
    assert [one.body for one in cloud.dead_letters.receive(10, 1)] == ["poison"]
