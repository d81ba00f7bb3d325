"""A calendar of minimums under the deadline policy: workers are there before the people come. Pure."""

from __future__ import annotations

from controller.policies.deadline import policy as deadline
from controller.policy import Decision, Observation, Terms


def policy(observation: Observation, terms: Terms) -> Decision:
    """What the deadline asks for, and never fewer than `terms.calendar` wants now."""
    needed = deadline(observation, terms)
    least = terms.calendar.least(observation.now)
    if needed.desired >= least:
        return needed
    return Decision(least, f"{needed.reason}; the calendar wants {least}")
