"""Jobs and results on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import MalformedMessage
from shoal.messages import (
    MAX_MODEL_NAME,
    MAX_NAME_BYTES,
    MAX_REQUEST_BYTES,
    Detection,
    Job,
    Label,
    Result,
    batch_floor,
    batch_time,
    is_batch,
    new_batch,
    safe_name,
)

any_text = st.text(max_size=400)
BATCH = "0" * 20  # not a new one: each test process must give the tests the same names
batches = st.floats(0, 4e9).map(new_batch)
jobs = st.builds(
    Job,
    batches,
    st.integers(0, 99_999),
    any_text.map(safe_name),
    st.just("a" * 63 + "-resp-queue"),
    st.sampled_from(["", "m" * MAX_MODEL_NAME, "resnet-1.5_b"]),
)
labels = st.builds(Label, any_text, any_text, st.floats(0, 1))


@given(jobs)
def test_a_job_survives_the_wire_and_fits_the_request_queue(job: Job) -> None:
    body = job.to_json()
    assert len(body.encode()) <= MAX_REQUEST_BYTES
    assert Job.from_json(body) == job
    assert Job.from_key(job.key, job.reply_to) == job


boxes = st.tuples(*[st.integers(0, 9_999)] * 4)
shares = st.tuples(*[st.floats(0, 1)] * 4)
detections = st.builds(
    Detection, any_text, st.integers(0, 90), st.floats(0, 1), boxes, shares, st.lists(labels).map(tuple)
)


@given(
    st.builds(
        Result,
        st.just("k"),
        st.sampled_from(["done", "failed"]),
        st.lists(labels).map(tuple),
        any_text,
        detections=st.lists(detections).map(tuple),
        warnings=st.lists(any_text).map(tuple),
        cached=st.booleans(),
        bad_photo=st.booleans(),
        model_version=any_text,
        arithmetic=any_text,
    )
)
def test_a_result_survives_the_wire(result: Result) -> None:
    assert Result.from_json(result.to_json()) == result


@given(any_text)
def test_any_file_name_becomes_a_safe_one(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= MAX_NAME_BYTES
    assert "/" not in safe
    assert "\\" not in safe
    assert safe not in {".", ".."}
    assert all(ord(letter) >= 0x20 for letter in safe)
    assert safe_name(safe) == safe


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("test_0.JPG", "test_0.JPG"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\cat.jpg", "cat.jpg"),
        ("", "unnamed"),
        ("..", "unnamed"),
        ("a\x00b\n.png", "a_b_.png"),
        ("<script>\"'&.jpg", "<script>\"'&.jpg"),
        ("🐟.jpg", "🐟.jpg"),
        ("👩\u200d🚀.jpg", "👩\u200d🚀.jpg"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
        ("\u2066a\u2069\u200f\u061c\u2028b.jpg", "_a____b.jpg"),
        ("תמונה.jpg", "תמונה.jpg"),
    ],
)
def test_safe_names(given_name: str, expected: str) -> None:
    assert safe_name(given_name) == expected


def test_a_long_name_keeps_its_extension() -> None:
    safe = safe_name("é" * 300 + ".jpeg")
    assert safe.endswith("….jpeg")
    assert len(safe.encode()) <= MAX_NAME_BYTES


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_batches_sort_by_time(one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert batch_floor(early) <= batch_floor(late)
    assert new_batch(late) >= batch_floor(early)
    assert is_batch(new_batch(one))
    assert batch_time(new_batch(one)) == int(one * 1000) / 1000


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"v":2,"key":"x","reply_to":"q"}',
        '{"v":1,"key":"x","reply_to":"q"}',
        '{"v":1,"key":7,"reply_to":"q"}',
        f'{{"v":1,"key":"{BATCH}/0/a","reply_to":"q"}}',
        f'{{"v":1,"key":"{BATCH}/00000/a","reply_to":7}}',
        f'{{"v":1,"key":"{BATCH}/00000@/a","reply_to":"q"}}',
        f'{{"v":1,"key":"{BATCH}/00000@os:system/a","reply_to":"q"}}',
        f'{{"v":1,"key":"{BATCH}/00000@{"m" * 65}/a","reply_to":"q"}}',
    ],
)
def test_a_malformed_job_is_refused(body: str) -> None:
    with pytest.raises(MalformedMessage):
        Job.from_json(body)


@given(st.text() | st.binary())
def test_noise_is_refused_as_a_result(body: str | bytes) -> None:
    with pytest.raises(MalformedMessage):
        Result.from_json(body)


@pytest.mark.parametrize(
    "body",
    [
        '{"v":1,"key":"k","status":"maybe"}',
        '{"v":1,"status":"done"}',
        '{"v":1,"key":"k","status":"done","labels":[{"x":1}]}',
        '{"v":1,"key":"k","status":"done","seconds":{"a":"b"}}',
        '{"v":1,"key":"k","status":"done","seconds":[1]}',
        '{"v":1,"key":"k","status":"done","detections":[{"name":"cat"}]}',
        '{"v":1,"key":"k","status":"done","warnings":3}',
    ],
)
def test_a_malformed_result_is_refused(body: str) -> None:
    with pytest.raises(MalformedMessage):
        Result.from_json(body)
