"""One worker a message: the classic student rule. Pure."""

from __future__ import annotations

from controller.policy import Decision, Observation


def policy(observation: Observation) -> Decision:
    """As many workers as there are messages, visible, in flight or delayed; none when there are none."""
    depth = observation.depth
    waiting = depth.visible + depth.delayed
    return Decision(depth.total, f"{waiting} waiting, {depth.in_flight} in work: need {depth.total}")
