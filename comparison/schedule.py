"""In which order photos go through lanes. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comparison.measurement import Lane, Phase

SEED = 20_260  # the order is mixed, and the same each time


@dataclass(frozen=True, slots=True)
class Stint:
    """Photos that go through one lane, one stint after another. round: 0 before the first measured one."""

    lane: Lane
    round: int
    phase: Phase
    photos: tuple[str, ...]


def stints(lanes: Sequence[Lane], photos: Sequence[str], rounds: int, warm_up: int) -> Iterator[Stint]:
    """A cold call and `warm_up` more for each lane; then the rounds, in each of which every lane has its turn.

    The lanes of a round come in a mixed order: a machine that gets slower with time is not counted against the last.
    """
    order = random.Random(SEED)
    for lane in lanes:
        yield Stint(lane, 0, "cold", tuple(photos[:1]))
        if warm := [photos[at % len(photos)] for at in range(1, warm_up + 1)]:
            yield Stint(lane, 0, "warm-up", tuple(warm))
    for number in range(1, rounds + 1):
        for lane in order.sample(list(lanes), len(lanes)):
            yield Stint(lane, number, "measured", tuple(order.sample(list(photos), len(photos))))
