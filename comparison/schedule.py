"""In which order photos go through lanes. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from comparison.measurement import AS_IT_IS, RESIZED, Lane, Phase

SEED = 20_260  # the order is mixed, and the same each time
WARM_UP = 4  # calls to a lane after its first that are not counted


@dataclass(frozen=True, slots=True)
class Stint:
    """Photos that go through one lane, one stint after another. round: 0 before the first measured one."""

    lane: Lane
    round: int
    phase: Phase
    photos: tuple[str, ...]


def both_sizes(venues: Iterable[str]) -> list[Lane]:
    """Two lanes for each venue: photos as they are, and resized."""
    return [Lane(venue, size) for venue in venues for size in (AS_IT_IS, RESIZED)]


def only_whole(venues: Iterable[str]) -> list[Lane]:
    """A lane for each venue to which no photo is sent, so that there is nothing to resize."""
    return [Lane(venue, AS_IT_IS) for venue in venues]


def stints(lanes: Sequence[Lane], photos: Sequence[str], rounds: int, warm_up: int = WARM_UP) -> Iterator[Stint]:
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
