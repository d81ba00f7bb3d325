"""What the controller remembers does not grow. What it costs in time, `python -m benchmarks.controller` prints."""

from __future__ import annotations

from benchmarks.controller import week

GROWTH_BYTES = 100_000  # remembering each tick, of any kind, would take more


def test_memory_is_flat_over_hours_of_load_that_comes_and_goes() -> None:
    after_an_hour, at_the_end, _ = week(hours=4)
    assert at_the_end - after_an_hour < GROWTH_BYTES
