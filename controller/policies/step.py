"""Step scaling: a table from backlog to workers, as in step policies of "exact capacity" on AWS. Pure."""

from __future__ import annotations

from itertools import pairwise

from controller.policy import Decision, Observation, Terms


def policy(observation: Observation, terms: Terms) -> Decision:
    """The workers of the last step that the backlog reaches; 0 below the first step."""
    backlog = observation.depth.total
    reached = [(threshold, workers) for threshold, workers in terms.steps if backlog >= threshold]
    if not reached:
        return Decision(0, "below the first step: need 0")
    threshold, need = reached[-1]
    return Decision(need, f"step from {threshold} on: need {need}")


def parse(text: str) -> tuple[tuple[int, int], ...]:
    """Read "1:1 10:3 50:8": from a backlog of 1 on one worker, from 10 on three ...

    Raises ValueError for other text, and when more backlog would get fewer workers.
    """
    try:
        steps = tuple((int(backlog), int(workers)) for backlog, workers in (one.split(":") for one in text.split()))
    except ValueError:
        raise ValueError("expected steps like '1:1 10:3 50:8' (backlog:workers)") from None
    if any(later[0] <= earlier[0] or later[1] < earlier[1] for earlier, later in pairwise(steps)):
        raise ValueError("the steps must grow: more backlog, no fewer workers")
    if any(backlog < 1 or workers < 1 for backlog, workers in steps):
        raise ValueError("a step begins with a backlog of 1 or more and wants 1 worker or more")
    return steps
