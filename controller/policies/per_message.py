"""One worker a message: the classic student rule. Pure."""

from __future__ import annotations

from controller.policy import Decision, Observation, Terms


def policy(observation: Observation, terms: Terms) -> Decision:  # noqa: ARG001 - a policy's signature
    """As many workers as there are messages, visible, in flight or delayed; none when there are none."""
    need = observation.depth.total
    return Decision(need, f"one each: need {need}")
