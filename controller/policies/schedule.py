"""The deadline policy with a calendar of minimums: workers are ready before the people come. Pure."""

from __future__ import annotations

from controller.policies.deadline import policy as deadline
from controller.policy import Decision, Observation, Terms


def policy(observation: Observation, terms: Terms) -> Decision:
    """The need of the deadline policy, but at least the calendar's minimum for now."""
    needed = deadline(observation, terms)
    least = terms.calendar.least(observation.now)
    if needed.desired >= least:
        return needed
    return Decision(least, f"{needed.reason}; the calendar wants {least}")
