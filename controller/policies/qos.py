"""Quality of service: a worker for every so many messages, approached by a factor. Pure.

The rule of a published course system: desired = ceil(messages / QoS), feasible = min(desired, max),
change = ceil((feasible - workers) x factor). Its "kill all after a delay" is our quiet time.
"""

from __future__ import annotations

import math

from controller.policy import Decision, Observation, Terms


def policy(observation: Observation, terms: Terms) -> Decision:
    """Make `terms.scale_factor` of the change from the present workers to a worker for every `terms.qos` messages.

    Without messages the need is 0 at once: the change is rounded up and would never drain the last workers.
    """
    messages = observation.depth.total
    if not messages:
        return Decision(0, "no messages: need 0")
    workers = observation.capacity
    feasible = min(math.ceil(messages / terms.qos), terms.limits.most)
    change = math.ceil((feasible - workers) * terms.scale_factor)
    need = workers + change
    return Decision(need, f"one for {terms.qos:g}: {feasible} feasible, change {change:+d}: need {need}")
