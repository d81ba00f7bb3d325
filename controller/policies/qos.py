"""Quality of service: a worker for every so many messages, approached by a factor. Pure.

The rule of a published course system: desired = ceil(messages / QoS), feasible = min(desired, max),
change = ceil((feasible - workers) x factor). Its "kill all after a delay" is our quiet time.
"""

from __future__ import annotations

import math

from controller.policy import Decision, Observation, Terms


def policy(observation: Observation, terms: Terms) -> Decision:
    """Go `terms.scale_factor` of the way from the workers there are to one for every `terms.qos` messages.

    Without messages the need is zero at once: the change, rounded up, would never send the last workers away.
    """
    messages = observation.depth.total
    if not messages:
        return Decision(0, "no messages: need 0")
    workers = observation.capacity
    feasible = min(math.ceil(messages / terms.qos), terms.limits.most)
    change = math.ceil((feasible - workers) * terms.scale_factor)
    need = workers + change
    return Decision(need, f"one for {terms.qos:g}: {feasible} feasible, change {change:+d}: need {need}")
