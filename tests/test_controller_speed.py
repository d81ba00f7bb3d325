"""What the controller may cost. `python -m benchmarks.controller` prints the figures; these are the limits."""

from __future__ import annotations

import pytest

from benchmarks.controller import POLICIES, decision_seconds, week
from controller.policy import Policy

DECISION_SECONDS = 0.020
GROWTH_BYTES = 100_000  # remembering each tick, of any kind, would take more


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_decision_on_10000_instances_and_a_million_messages(policy: Policy) -> None:
    assert min(decision_seconds(policy, rounds=5)) < DECISION_SECONDS


def test_memory_is_flat_over_hours_of_load_that_comes_and_goes() -> None:
    after_an_hour, at_the_end, _ = week(hours=4)
    assert at_the_end - after_an_hour < GROWTH_BYTES
