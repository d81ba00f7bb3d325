"""What a web process remembers of results."""

from __future__ import annotations

from shoal.messages import Detection, Result
from web_tier.results.hub import Hub


def test_the_hub_remembers_no_more_than_it_may() -> None:
    hub = Hub(remembered=3)
    hub.publish(Result.failed(f"b/{number}/n", "x") for number in range(5))
    assert [hub.recall(f"b/{number}/n") is not None for number in range(5)] == [False, False, True, True, True]


def test_the_hub_remembers_few_results_that_are_large() -> None:
    """A hundred objects in each of 8,192 photos were 400 MB in the web process."""
    objects = tuple(Detection("bus", 6, 0.5, (1, 2, 3, 4), (0.1, 0.2, 0.3, 0.4)) for _ in range(100))
    hub = Hub()
    hub.publish(Result(f"b/{number}/n", "done", detections=objects) for number in range(1000))
    hub.publish([Result("b/999/n", "done")])  # smaller than the one before

    kept = [number for number in range(1000) if hub.recall(f"b/{number}/n")]

    assert kept == list(range(kept[0], 1000))
    assert 300 < len(kept) < 500
    hub.forget("b/999/n")
    assert hub.recall("b/999/n") is None
