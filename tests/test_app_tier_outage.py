"""The output bucket is away for longer than messages stay hidden, on a real S3 and SQS: no photo fails."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import pytest
import requests

from shoal.aws import connect, prepare
from shoal.aws.clients import client
from shoal.aws.s3 import create_bucket
from shoal.errors import BucketMissing, NotFound, Permanent, Retryable
from shoal.memory import ManualClock, memory_cloud
from shoal.ports import MOST_IN_PROGRESS
from shoal.settings import Settings, load
from tests.app_tier_fixtures import DEADLINE_SECONDS, NamingRecogniser, put, result, short_polls, working
from tests.waiting import until
from tests.web_fixtures import running_site

pytestmark = pytest.mark.usefixtures(short_polls.__name__)

PHOTOS = 300
REFUSALS = 600  # 4 threads that ask every 0.05 s: for 7 s and more
VISIBILITY_SECONDS = 3
TURNED_VISIBILITY, TURN_SECONDS = 30, 20


@pytest.fixture
def settings(embedded_cloud: None, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("app_tier.store_patience.AGAIN_SECONDS", 0.05)
    monkeypatch.setattr("app_tier.worker.RETRY_SECONDS", 0)
    chosen = load(
        {
            "SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}",
            "SHOAL_VISIBILITY_SECONDS": str(VISIBILITY_SECONDS),
        }
    )
    prepare(chosen)
    return chosen


def remove(bucket: str) -> None:
    s3 = client("s3")
    for stored in s3.list_objects_v2(Bucket=bucket).get("Contents", ()):
        s3.delete_object(Bucket=bucket, Key=stored["Key"])
    s3.delete_bucket(Bucket=bucket)


def counted(call: Callable[..., object], calls: list[float]) -> Callable[..., object]:
    def counting(*arguments: object) -> object:
        calls.append(time.monotonic())
        return call(*arguments)

    return counting


def test_an_outage_of_the_output_bucket_costs_no_photo_its_label(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, calls = connect(settings), list[float]()
    jobs = put(cloud, *[b"photo"] * PHOTOS, reply_to="")
    monkeypatch.setattr(cloud.outputs, "put_new", counted(cloud.outputs.put_new, calls))
    remove(settings.out_bucket)
    with (
        running_site(cloud, work=False) as site,
        working(cloud, NamingRecogniser(), VISIBILITY_SECONDS, replies=cloud.replies) as worker,
    ):
        until(lambda: worker.waits_for_store)
        reply = requests.get(f"{site.url}/v1/batches/{jobs[0].batch}", timeout=30)
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "2")
        until(lambda: len(calls) >= REFUSALS, DEADLINE_SECONDS)
        assert calls[-1] - calls[0] > 2 * VISIBILITY_SECONDS
        assert worker.finished == 0

        create_bucket(client("s3"), settings.out_bucket)
        until(lambda: worker.finished == PHOTOS, DEADLINE_SECONDS)
    assert worker.received < 2 * PHOTOS  # it held them: given back, each would have come again many times
    assert {result(cloud, job).label for job in jobs} == {"photo"}
    assert (cloud.requests.depth().total, cloud.dead_letters.depth().total) == (0, 0)


def test_an_hours_outage_ends_with_a_label_for_each_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_tier.store_patience.AGAIN_SECONDS", 0.05)
    monkeypatch.setattr("app_tier.heartbeat.RENEWALS", 3000)  # the clock of the queue is turned, the worker's is not
    clock = ManualClock()
    cloud, renewals = memory_cloud(clock, visibility_seconds=TURNED_VISIBILITY), list[float]()
    monkeypatch.setattr(cloud.requests, "extend", counted(cloud.requests.extend, renewals))
    jobs = put(cloud, *[b"photo"] * 500)
    works, away = cloud.outputs.put_new, threading.Event()
    away.set()

    def put_new(*arguments: object) -> object:
        if away.is_set():
            raise Retryable("away")
        return works(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cloud.outputs, "put_new", put_new)
    with working(cloud, NamingRecogniser(), TURNED_VISIBILITY) as worker:
        until(lambda: worker.waits_for_store)
        for _ in range(0, 3600, TURN_SECONDS):
            before = len(renewals)
            clock.wait(TURN_SECONDS)
            until(lambda before=before: len(renewals) >= before + 2)  # type: ignore[misc] # one began after the turn
        assert (worker.finished, worker.received <= MOST_IN_PROGRESS) == (0, True)
        away.clear()
        until(lambda: worker.finished == len(jobs), DEADLINE_SECONDS)
    assert {result(cloud, job).label for job in jobs} == {"photo"}
    assert (cloud.requests.depth().total, cloud.dead_letters.depth().total) == (0, 0)


def test_a_missing_bucket_is_no_missing_object(settings: Settings) -> None:
    cloud = connect(settings)
    with pytest.raises(NotFound):
        cloud.inputs.get("a/photo")
    remove(settings.in_bucket)
    for call in (lambda: cloud.inputs.get("a/photo"), lambda: list(cloud.inputs.list(""))):
        with pytest.raises(BucketMissing):
            call()


def test_a_forbidden_output_bucket_is_no_photos_fault(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud, calls = connect(settings), list[float]()
    jobs = put(cloud, *[b"photo"] * 20, reply_to="")
    works = cloud.outputs.put_new

    def forbidden(*arguments: object) -> object:
        if len(calls) < 100:
            calls.append(time.monotonic())
            raise Permanent("AccessDenied")
        return works(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cloud.outputs, "put_new", forbidden)
    with working(cloud, NamingRecogniser(), VISIBILITY_SECONDS, replies=cloud.replies) as worker:
        until(lambda: worker.finished == len(jobs), DEADLINE_SECONDS)
    assert {result(cloud, job).label for job in jobs} == {"photo"}
    assert cloud.dead_letters.depth().total == 0
