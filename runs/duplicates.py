"""Finds pictures that are nearly the same, by their perceptual hashes, without comparing each with each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTS = 4
PART_BITS = 16
FARTHEST = 2 * PARTS - 1  # bits: then two hashes have a part in which they differ by one bit at most
PAIRS_AT_ONCE = 4_000_000

Numbers = NDArray[np.int64]


def groups(hashes: Iterable[int], distance: int) -> list[list[int]]:
    """The numbers of the pictures, from 0, in groups of two and more; those are connected by pairs that differ in
    `distance` bits at most.

    distance: at most FARTHEST.
    """
    values, of_picture = np.unique(np.fromiter(hashes, np.uint64), return_inverse=True)
    leaders = np.arange(len(values))
    for first, second in _near(values, distance):
        _join(leaders, first, second)
    leader_of = np.array([_leader(leaders, number) for number in range(len(values))], np.int64)[of_picture]
    order = np.argsort(leader_of, kind="stable")
    starts = np.flatnonzero(np.diff(leader_of[order])) + 1
    found = [one.tolist() for one in np.split(order, starts) if len(one) > 1]
    return sorted(found)


def _near(values: NDArray[np.uint64], distance: int) -> Iterator[tuple[int, int]]:
    """Pairs of different values that differ in few bits. Some come several times."""
    flips = [0] if distance < PARTS else [0, *(1 << bit for bit in range(PART_BITS))]
    for number in range(PARTS if distance else 0):
        part = (values >> np.uint64(PART_BITS * number)) & np.uint64((1 << PART_BITS) - 1)
        order = np.argsort(part, kind="stable")
        for flip in flips:
            yield from _matches(values, part, order, flip, distance)


def _matches(
    values: NDArray[np.uint64], part: NDArray[np.uint64], order: Numbers, flip: int, distance: int
) -> Iterator[tuple[int, int]]:
    """Pairs of which one's part is the other's with the bits of `flip` changed."""
    ordered = part[order]
    starts = np.searchsorted(ordered, part ^ np.uint64(flip), "left")
    counts = np.searchsorted(ordered, part ^ np.uint64(flip), "right") - starts
    at = 0
    while at < len(values):
        upto = max(at + 1, int(np.searchsorted(np.cumsum(counts[at:]), PAIRS_AT_ONCE, "right")) + at)
        first = np.repeat(np.arange(at, upto), counts[at:upto])
        ends = np.cumsum(counts[at:upto])
        place = np.arange(len(first)) - np.repeat(ends - counts[at:upto], counts[at:upto])
        second = order[np.repeat(starts[at:upto], counts[at:upto]) + place]
        near = (first < second) & (np.bitwise_count(values[first] ^ values[second]) <= distance)
        yield from zip(first[near].tolist(), second[near].tolist(), strict=True)
        at = upto


def _leader(leaders: Any, number: int) -> int:
    while leaders[number] != number:
        leaders[number] = leaders[leaders[number]]
        number = int(leaders[number])
    return number


def _join(leaders: Any, first: int, second: int) -> None:
    one, other = _leader(leaders, first), _leader(leaders, second)
    leaders[max(one, other)] = min(one, other)
