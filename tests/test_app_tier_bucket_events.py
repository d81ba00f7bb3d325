"""Photos that the input bucket announces by S3's own event messages; other messages of S3 are kept with a reason."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from app_tier.bucket_events import BucketEvents
from shoal.aws import connect, prepare
from shoal.buckets.foreign_messages import kept
from shoal.clock import SystemClock
from shoal.errors import SettingsError
from shoal.memory import memory_cloud
from shoal.messages import Result
from shoal.ports import Cloud
from shoal.settings import load
from tests.app_tier_fixtures import NamingRecogniser, put, short_polls, wait_for, working

pytestmark = pytest.mark.usefixtures(short_polls.__name__)

BUCKET = "t-in-bucket"
EVENTS = BucketEvents(BUCKET, "incoming/", 1_000)
TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET, "RequestId": "1"}


def event(key: str, bucket: str = BUCKET, name: str = "ObjectCreated:Put", size: object = 5) -> dict[str, Any]:
    """A record as S3 writes it; key: as S3 quotes it."""
    stored = {"bucket": {"name": bucket}, "object": {"key": key, "size": size, "sequencer": "0055AED6DCD90281E5"}}
    return {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name, "s3": stored}


def message(*records: dict[str, Any]) -> str:
    return json.dumps({"Records": records})


@pytest.fixture
def cloud() -> Cloud:
    return memory_cloud(SystemClock(), visibility_seconds=30)


def test_an_announced_photo_is_labelled_under_its_own_key(cloud: Cloud) -> None:
    cloud.inputs.put("incoming/a b+c/katze ü.jpg", b"photo", "image/jpeg")
    cloud.requests.send([message(event("incoming/a+b%2Bc/katze+%C3%BC.jpg"))])
    with working(cloud, NamingRecogniser(), events=EVENTS) as worker:
        wait_for(lambda: worker.finished == 1)
    assert Result.from_json(cloud.outputs.get("incoming/a b+c/katze ü.jpg")).label == "photo"
    assert (cloud.requests.depth().total, cloud.responses.depth().total) == (0, 0)


def test_there_is_nothing_to_do_for_photos_of_our_own_and_for_what_is_no_photo(cloud: Cloud) -> None:
    [job] = put(cloud, b"photo")
    nothing = [
        message(event(job.key)),
        message(event("incoming/a.jpg", name="ObjectRemoved:Delete")),
        message(event("incoming/folder/", size=0)),
        json.dumps(TEST_EVENT),
    ]
    cloud.requests.send(nothing)
    with working(cloud, NamingRecogniser(), events=EVENTS) as worker:
        wait_for(lambda: worker.finished == 1 and not cloud.requests.depth().total)
    assert [one.key for one in cloud.outputs.list("")] == [job.key]


def test_other_events_are_kept_with_a_reason_at_their_first_delivery(cloud: Cloud) -> None:
    foreign = {
        message(event("incoming/a.jpg", bucket="other")): "'other', which is not the input bucket",
        message(event("elsewhere/a.jpg")): "'elsewhere/a.jpg', which is not under 'incoming/'",
        message(event("incoming/film.mp4", size=1_001)): "'incoming/film.mp4' has 1,001 bytes; at most 1,000",
        message(event("incoming/a.jpg"), event("incoming/b.jpg")): "2 records",
        message({"eventSource": "aws:s3"}): "malformed fields",
        message(event("incoming/a.jpg", size="x")): "malformed fields",
        json.dumps(TEST_EVENT | {"Bucket": "other"}): "'other', which is not the input bucket",
        "[]": "no JSON object",
    }
    cloud.requests.send(list(foreign))
    with working(cloud, NamingRecogniser(), events=EVENTS):
        wait_for(lambda: not cloud.requests.depth().total)
    found = {one.body: one.reason for one in kept(cloud.outputs)}
    assert found.keys() == foreign.keys()
    assert [body for body, reason in foreign.items() if reason not in found[body]] == []


def test_without_a_prefix_no_event_brings_a_photo_in(cloud: Cloud) -> None:
    cloud.inputs.put("incoming/a.jpg", b"photo", "image/jpeg")
    cloud.requests.send([message(event("incoming/a.jpg"))])
    with working(cloud, NamingRecogniser()):
        wait_for(lambda: not cloud.requests.depth().total)
    [one] = kept(cloud.outputs)
    assert "SHOAL_INTAKE_PREFIX is not set" in one.reason


def test_a_bucket_announces_photos_to_a_worker(embedded_cloud: None) -> None:
    settings = load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}", "SHOAL_INTAKE_PREFIX": "incoming/"})
    prepare(settings)
    prepare(settings)  # safe to repeat: the bucket announces a photo once
    cloud = connect(settings)
    cloud.inputs.put("incoming/katze ü+1.jpg", b"photo", "image/jpeg")
    cloud.inputs.put("elsewhere/a.jpg", b"photo", "image/jpeg")
    events = BucketEvents(settings.in_bucket, settings.intake_prefix, 1_000)
    with working(cloud, NamingRecogniser(), events=events) as worker:
        wait_for(lambda: worker.finished == 1)
        wait_for(lambda: not cloud.requests.depth().total)
    assert Result.from_json(cloud.outputs.get("incoming/katze ü+1.jpg")).label == "photo"
    assert [one.key for one in cloud.outputs.list("")] == ["incoming/katze ü+1.jpg"]


@pytest.mark.parametrize("prefix", ["foreign/", "foreign/a", "pend", "corrections/"])
def test_a_prefix_where_shoal_keeps_its_own_objects_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match="SHOAL_INTAKE_PREFIX"):
        load({"SHOAL_INTAKE_PREFIX": prefix})
