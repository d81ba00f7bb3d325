"""Photos that end a worker's process: noted while they are open, counted, tried alone, given up at last."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from app_tier.suspects.alone import Broken, try_alone
from app_tier.suspects.failure_notes import in_words
from app_tier.suspects.open_photos import MOST_KEY_BYTES, OpenPhotos
from shoal.buckets import failures, suspects
from shoal.buckets.suspects import GIVEN_UP
from shoal.clock import SystemClock
from shoal.errors import Permanent, Retryable
from shoal.memory import memory_cloud
from shoal.messages import Job, new_batch
from shoal.ports import MOST_IN_PROGRESS, Cloud
from tests.app_tier_fixtures import (
    DEADLINE_SECONDS,
    NamingRecogniser,
    put,
    result,
    short_polls,
    suspects_of,
    wait_for,
    working,
)

pytestmark = pytest.mark.usefixtures(short_polls.__name__)

LOST_MACHINES = 20


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setattr("app_tier.worker.RETRY_SECONDS", 0)
    return memory_cloud(SystemClock(), visibility_seconds=30)


def deliver_in_vain(cloud: Cloud) -> None:
    """As to a machine that is lost, without the wait for the visibility timeout."""
    cloud.requests.extend([one.receipt for one in cloud.requests.receive(10, 0)], 0)


def test_lost_machines_do_not_count_against_a_photo(cloud: Cloud) -> None:
    recogniser = NamingRecogniser()
    [job] = put(cloud, b"photo")
    for _ in range(LOST_MACHINES):
        deliver_in_vain(cloud)
    with working(cloud, recogniser) as worker:
        wait_for(lambda: worker.finished == 1)
    assert result(cloud, job).label == "photo"
    assert recogniser.alone == []


@pytest.mark.parametrize(("deliveries", "seconds"), [(1, 2), (5, 10), (50, 60)])
def test_what_cannot_be_read_comes_back_later_each_time(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, deliveries: int, seconds: int
) -> None:
    monkeypatch.setattr("app_tier.worker.RETRY_SECONDS", 2)
    hidden = list[int]()

    def forbidden(_: str) -> bytes:
        raise Permanent("AccessDenied")

    monkeypatch.setattr(cloud.inputs, "get", forbidden)
    [job] = put(cloud, b"photo")
    for _ in range(deliveries - 1):
        deliver_in_vain(cloud)
    monkeypatch.setattr(cloud.requests, "extend", lambda _, seconds: hidden.append(seconds))
    with working(cloud, NamingRecogniser()):
        wait_for(lambda: failures.last(cloud.outputs, job.key))
    assert hidden[0] == seconds
    failure = failures.last(cloud.outputs, job.key)
    assert failure is not None
    assert (failure.error, failure.worker, failure.deliveries) == ("AccessDenied", "app-tier-instance-1", deliveries)
    assert abs(time.time() - failure.at) < DEADLINE_SECONDS


def test_an_error_that_nobody_foresaw_says_where_it_was_raised() -> None:
    try:
        try:
            int("x")
        except ValueError as error:
            raise Broken("decoding of a.jpg broke") from error
    except Broken as error:
        words = in_words(error)
    assert words.startswith(
        "decoding of a.jpg broke: ValueError: invalid literal for int() with base 10: 'x' (test_app"
    )


def test_what_breaks_the_engine_or_a_decoder_is_tried_alone_then_fails_and_the_others_are_labelled(
    cloud: Cloud,
) -> None:
    recogniser = NamingRecogniser()
    one, broken, poison, two = put(cloud, b"one", b"broken", b"poison", b"two")
    with working(cloud, recogniser, suspects=suspects_of(cloud, recogniser, most=3)) as worker:
        wait_for(lambda: worker.finished == 4)
    assert [result(cloud, job).label for job in (one, two)] == ["one", "two"]
    assert {result(cloud, job).error for job in (broken, poison)} == {GIVEN_UP}
    assert Counter(recogniser.alone) == {broken.key: 2, poison.key: 2}
    assert cloud.requests.depth().total == cloud.dead_letters.depth().total == 0


def test_a_photo_that_was_open_when_the_process_ended_is_tried_alone_and_labelled(cloud: Cloud, tmp_path: Path) -> None:
    recogniser, file = NamingRecogniser(), tmp_path / "open-photos"
    opened, other = put(cloud, b"opened", b"other")
    deliver_in_vain(cloud)
    dead = OpenPhotos(file).noted([opened.key])
    dead.__enter__()
    for _ in range(6):  # more often than photos may break something: only one that breaks it alone fails
        suspects.count(cloud.outputs, opened.key)
    with working(cloud, recogniser, suspects=suspects_of(cloud, recogniser, file=file)) as worker:
        wait_for(lambda: worker.finished == 2)
    assert [result(cloud, job).label for job in (opened, other)] == ["opened", "other"]
    assert recogniser.alone == [opened.key]
    assert suspects.times(cloud.outputs, opened.key) == 7
    assert OpenPhotos(file).left_open == ()


def test_the_file_tells_the_next_process_what_was_open_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "open-photos"
    keys = [f"{number}/ü.jpg" for number in range(MOST_IN_PROGRESS - 1)] + ["x" * MOST_KEY_BYTES]
    first = OpenPhotos(file)
    with first.noted(keys[:4]):
        pass
    with first.noted(keys), first.noted(["there is no slot for it"]):
        assert set(OpenPhotos(file).left_open) == set(keys)
    assert OpenPhotos(file).left_open == ()
    file.write_bytes(b"\xff" * 3000)  # of another version
    assert OpenPhotos(file).left_open == ()


def test_without_the_file_photos_are_opened_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for photos in (OpenPhotos(), OpenPhotos(tmp_path / "nonesuch" / "open-photos")):
        with photos.noted(["a"]):
            pass
        photos.forget_left_open()
    assert caplog.text.count("will not be known") == 1


def test_a_record_that_cannot_be_read_counts_nothing() -> None:
    outputs = memory_cloud(SystemClock()).outputs
    assert [suspects.times(outputs, "a"), suspects.count(outputs, "a"), suspects.count(outputs, "a")] == [0, 1, 2]
    assert suspects.times(outputs, "b") == 0
    for body in (b"{", b'{"times":"many"}', b"[]"):
        outputs.put(suspects.path_of("a"), body, "application/json")
        assert suspects.times(outputs, "a") == 0


def test_a_process_that_ends_before_it_opens_the_photo_says_nothing_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(new_batch(0), 0, "a.jpg", "")
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(Retryable, match="at its start, with status 1"):
        try_alone(job, b"photo")
    monkeypatch.setattr("sys.executable", "/nonesuch")
    with pytest.raises(Retryable, match="could be started"):
        try_alone(job, b"photo")
    assert not issubclass(Broken, Retryable)
