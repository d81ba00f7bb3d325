"""Backlog per instance: the target that AWS documents for scaling on a queue. Pure.

Source: the Amazon EC2 Auto Scaling user guide, "Scaling policy based on Amazon SQS": acceptable backlog per instance =
acceptable latency / average seconds for a message. AWS counts the visible messages; we count those in flight as well,
because leaving them out drains machines that work (kedacore/keda#1663).
"""

from __future__ import annotations

import math

from controller.policy import Decision, Observation, Terms, figure


def policy(observation: Observation, terms: Terms) -> Decision:
    """As many workers as give each no more backlog than it can do in `terms.target_seconds`."""
    seconds = observation.measured.service_seconds
    acceptable = max(1.0, terms.target_seconds / seconds)
    need = math.ceil(observation.depth.total / acceptable)
    return Decision(
        need, f"{figure(seconds)} s each, target {terms.target_seconds:g} s: {acceptable:.0f} for each, need {need}"
    )
