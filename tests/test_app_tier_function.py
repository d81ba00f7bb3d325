"""What the Lambda function does with several events of one photo at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from app_tier.function.event_labeller import EventLabeller
from inference.process import Recogniser
from shoal.clock import SystemClock
from shoal.errors import MalformedMessage
from shoal.memory import MemoryStore
from shoal.messages import Job, Label, Result

KEY = "lambda/a.jpg"
MOST_STEPS = 12


def names_itself(_: object, job: Job, payload: bytes) -> Result:
    """The label of a photo is its content."""
    return Result(job.key, "done", (Label(payload.decode(), "", 0.9),))


class OneTable:
    """The tables' rule: a later event stays."""

    def __init__(self) -> None:
        self.known = ("", "")

    def record(self, _: str, order: str, result: Result) -> str:
        if self.known[0] > order:
            return "late"
        told = "replaced" if self.known[0] else "first"
        self.known = (order, result.label)
        return told

    def latest(self, _: str) -> str:
        return self.known[0]


class Interrupted:
    """A store or a table. Before its calls `meanwhile` runs."""

    def __init__(self, inner: object, meanwhile: Callable[[], None]) -> None:
        self._inner = inner
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        self._meanwhile()
        return getattr(self._inner, name)


class Photo:
    """A photo in a bucket, its result and its item. The event 1 is of the content "one", the event 2 of "two"."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.inputs, self.outputs, self.table = MemoryStore(clock), MemoryStore(clock), OneTable()

    def store(self, content: str) -> None:
        self.inputs.put(KEY, content.encode(), "image/jpeg")

    def handle(
        self, order: str, meanwhile: Callable[[], None] = lambda: None, inputs: MemoryStore | None = None
    ) -> None:
        """inputs: where the photo is as this event has fetched it."""

        def interrupted(one: object) -> Any:
            return Interrupted(one, meanwhile)

        inputs, outputs, table = map(interrupted, (inputs or self.inputs, self.outputs, self.table))
        labeller = EventLabeller(cast(Recogniser, None), "in", inputs, outputs, table, "lambda/", 1000, "shoal-lambda")
        described = {"key": KEY, "size": 3, "sequencer": order}
        record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "in"}, "object": described}}
        labeller.handle({"Records": [record]})


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("step", range(MOST_STEPS))
@pytest.mark.parametrize(("first", "second"), [("1", "2"), ("2", "1")])
def test_the_newer_photo_is_what_stays(
    first: str, second: str, step: int, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two calls of one event the other is handled: after the photo was overwritten, or late."""
    monkeypatch.setattr("inference.process.process", names_itself)
    photo, calls = Photo(), iter(range(100))
    photo.store("zero")
    if known:
        photo.handle("0")
    photo.store("one" if first == "1" else "two")

    def meanwhile() -> None:
        if next(calls) == step:
            photo.store("two")
            photo.handle(second)

    photo.handle(first, meanwhile)
    if next(calls) <= step:  # it had ended by then
        photo.store("two")
        photo.handle(second)

    assert Result.from_json(photo.outputs.get(KEY)).label == "two"
    assert photo.table.known == ("2", "two")


@pytest.mark.parametrize("step", range(MOST_STEPS))
def test_an_event_that_fetched_the_older_photo_does_not_leave_its_document(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is handled between any two calls of the newer event, but its photo was fetched before the other was there."""
    monkeypatch.setattr("inference.process.process", names_itself)
    photo, calls, before = Photo(), iter(range(100)), MemoryStore(SystemClock())
    before.put(KEY, b"one", "image/jpeg")
    photo.store("two")

    def meanwhile() -> None:
        if next(calls) == step:
            photo.handle("1", inputs=before)

    photo.handle("2", meanwhile)
    assert Result.from_json(photo.outputs.get(KEY)).label == "two"
    assert photo.table.known == ("2", "two")


@pytest.mark.parametrize("event", [[], "text", None, {"Records": "x"}, {"Records": [1]}, {}])
def test_what_is_no_event_is_named(event: Any) -> None:
    stores = (MemoryStore(SystemClock()), MemoryStore(SystemClock()))
    labeller = EventLabeller(cast(Recogniser, None), "in", *stores, cast(Any, OneTable()), "lambda/", 1000, "f")
    with pytest.raises(MalformedMessage, match="not an event of S3"):
        labeller.handle(event)
