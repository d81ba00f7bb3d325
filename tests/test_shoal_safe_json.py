"""Whatever stands in a message, a record or a ledger: its reader gives a value of ours, or MalformedMessage."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_tier.in_progress import Delivery
from shoal.errors import MalformedMessage
from shoal.ledger import Entry
from shoal.messages import Job, Label, Result
from shoal.ports import Received
from shoal.safe_json import DEEPEST, LONGEST_INTEGER, read_object
from web_tier.results.webhooks import PendingWebhook

BATCH = "0" * 20
KEY = f"{BATCH}/00000/cat.jpg"
SURROGATE = "\ud800"
HUGE = "an integer of 5,000 digits"
HOSTILE = [
    "[" * 1020,
    '{"v":' * 2000,
    '{"v":1,"key":' + "[" * 500 + "]" * 500 + "}",
    '{"v":1,"key":' + "7" * 5000 + "}",
    '{"v":1,"key":NaN}',
    '{"v":1,"key":1e999}',
    '{"v":1,"key":"' + SURROGATE + '"}',
    '{"v":1,"key":"\\ud800"}',
    "\ufeff{}",
    "null",
    b"\xff\xfe\x00",
    b"\xed\xa0\x80",
]
wide = st.text(st.characters(exclude_categories=()))  # with lone surrogates
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | wide | st.sampled_from([KEY, BATCH, HUGE]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(wide, inner, max_size=4),
    max_leaves=12,
)


def dumped(value: object) -> str:
    """JSON as an enemy writes it: integers of any length."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{dumped(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumped, value)) + "]"
    return "9" * 5000 if value == HUGE else json.dumps(value)


# A whole message in which some fields have other values.
def changed(whole: str) -> st.SearchStrategy[str]:
    fields = json.loads(whole)
    changes = st.dictionaries(st.sampled_from(sorted(fields)), json_values, max_size=3)
    return changes.map(lambda change: dumped(fields | change))


RESULT = Result(KEY, "done", (Label("cat", "n0", 0.5),), seconds={"infer": 0.1}).to_json()
ENTRY = Entry(1.0, "nothing to do", 0, 0, 0, 0, 0).to_json()
WEBHOOK = json.dumps({"batch": BATCH, "url": "https://example.org", "photos": 1, "made": 1.0})
bodies = wide | json_values.map(dumped) | st.sampled_from([one for one in HOSTILE if isinstance(one, str)])


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("read", [read_object, Job.from_json, Result.from_json, Entry.from_json])
def test_hostile_json_is_malformed(read: Callable[[object], object], hostile: object) -> None:
    with pytest.raises(MalformedMessage):
        read(hostile)


def test_the_limits_are_where_they_are_said_to_be() -> None:
    levels = DEEPEST - 1  # the object itself is one
    assert read_object('{"a":' + "[" * levels + "]" * levels + "}")
    assert read_object('{"a":' + "9" * LONGEST_INTEGER + "}") == {"a": 10**LONGEST_INTEGER - 1}
    for deep in ("[" * DEEPEST + "]" * DEEPEST, "9" * (LONGEST_INTEGER + 1), "-" + "9" * (LONGEST_INTEGER + 1)):
        with pytest.raises(MalformedMessage):
            read_object('{"a":' + deep + "}")
    assert read_object('{"a":"\\ud83d\\ude00 \\\\ud800"}') == {"a": "😀 \\ud800"}


@given(bodies | changed(Job(BATCH, 0, "cat.jpg", "").to_json()))
def test_a_job_is_one_of_ours_or_malformed(body: str) -> None:
    try:
        job = Job.from_json(body)
    except MalformedMessage as error:
        str(error).encode()
    else:
        assert Job.from_json(job.to_json()) == job
        job.to_json().encode()


@given(bodies | changed(RESULT))
def test_a_result_is_one_of_ours_or_malformed(body: str) -> None:
    try:
        result = Result.from_json(body)
    except MalformedMessage as error:
        str(error).encode()
    else:
        assert Result.from_json(result.to_json().encode()) == result


@given(bodies | changed(ENTRY))
def test_an_entry_is_one_of_ours_or_malformed(line: str) -> None:
    try:
        entry = Entry.from_json(line)
    except MalformedMessage as error:
        str(error).encode()
    else:
        assert Entry.from_json(entry.to_json()) == entry


@given(bodies | changed(WEBHOOK))
def test_the_record_of_a_webhook_is_one_of_ours_or_malformed(body: str) -> None:
    try:
        record = PendingWebhook.from_json(body.encode(errors="surrogatepass"), BATCH)
    except MalformedMessage as error:
        str(error).encode()
    else:
        assert record.tried(record.made).due >= record.made


@given(wide)
def test_any_key_is_that_of_a_job_or_malformed(text: str) -> None:
    for key in (text, f"{BATCH}/{text}", f"{BATCH}/00000/{text}", f"{BATCH}/00000@{text}/cat.jpg"):
        try:
            assert Job.from_key(key, "").key == key
        except MalformedMessage as error:
            str(error).encode()


@pytest.mark.parametrize(
    "key",
    [
        f"{BATCH}/{'1' * 5000}/a",
        f"{BATCH}/00000/..",
        f"{BATCH}/00000/a/b",
        f"{BATCH}/00000/a\x1b[2J",
        f"{KEY}{SURROGATE}",
    ],
)
def test_a_key_with_a_name_that_intake_would_change_is_malformed(key: str) -> None:
    with pytest.raises(MalformedMessage):
        Job.from_key(key, "")


@pytest.mark.parametrize("told", ["inf", "nan", "-1", "1e300", "9" * 5000, SURROGATE, ""])
def test_a_senseless_time_of_the_upload_is_left_out(told: str) -> None:
    job = Job(BATCH, 0, "cat.jpg", "")
    message = Received(job.to_json(), "receipt", 1, 1.0, 2.0, {"upload": told})
    assert set(Delivery.open(message, job).seconds) == {"queue"}
