"""A result is stored over any other but a cancellation."""

from __future__ import annotations

import pytest

from shoal.buckets.result_store import store_result
from shoal.memory import ManualClock, MemoryStore
from shoal.messages import CANCELLED, Label, Result

KEY = "0000000000000000000a/00000/cat.jpg"
DONE = Result(KEY, "done", (Label("tabby", "n02123045", 0.9),))
CANCELLATION = Result.failed(KEY, CANCELLED)


def stored(store: MemoryStore) -> Result:
    return Result.from_json(store.get(KEY).decode())


@pytest.mark.parametrize("late", [DONE, Result.failed(KEY, "the photo is no longer in the input bucket")])
def test_a_cancelled_photo_stays_cancelled(late: Result) -> None:
    store = MemoryStore(ManualClock())
    assert store_result(store, CANCELLATION) == CANCELLATION
    assert store_result(store, late) == CANCELLATION
    assert stored(store) == CANCELLATION


@pytest.mark.parametrize("before", [Result.failed(KEY, "damaged").to_json(), DONE.to_json(), "{", ""])
def test_any_other_result_is_replaced(before: str) -> None:
    store = MemoryStore(ManualClock())
    store.put(KEY, before.encode(), "application/json")
    assert store_result(store, DONE) == DONE
    assert stored(store) == DONE
