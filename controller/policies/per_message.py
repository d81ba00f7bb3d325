"""One worker for each message: the classic rule of student projects. Pure."""

from __future__ import annotations

from controller.policy import Decision, Observation, Terms


def policy(observation: Observation, terms: Terms) -> Decision:  # noqa: ARG001 - a policy's signature
    """As many workers as messages: visible, in flight or delayed."""
    need = observation.depth.total
    return Decision(need, f"one each: need {need}")
