"""Figures of many measurements. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from comparison.measurement import Lane, Measurement

PARTS = ("transfer", "wait", "inference", "total")


@dataclass(frozen=True, slots=True)
class TimeSpread:
    """How values are spread. sd: the standard deviation of a sample, 0 for a single value."""

    mean: float
    sd: float
    least: float
    most: float
    p50: float
    p95: float

    @classmethod
    def of(cls, values: Collection[float]) -> Self:
        """The spread of at least one value. Percentiles are interpolated (type 7 of Hyndman and Fan, 1996)."""
        ordered = sorted(values)
        deviation = statistics.stdev(ordered) if len(ordered) > 1 else 0.0
        return cls(
            statistics.fmean(ordered),
            deviation,
            ordered[0],
            ordered[-1],
            percentile(ordered, 50),
            percentile(ordered, 95),
        )


def percentile(ordered: Collection[float], percent: float) -> float:
    """A percentile of sorted values, at least one: (n - 1) * percent / 100 steps from the first, interpolated."""
    values = list(ordered)
    place = (len(values) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """The figures of one lane.

    seconds:    part of the time -> its spread over the measured photos; empty when none was labelled.
    cold:       seconds of the first call to the lane; None when it failed.
    images_per_second: labelled photos over the time in which they were sent, at the given concurrency.
    agreement:  the share of photos with the same label as in the reference lane; None without a photo in common.
    failed:     failed calls; why: the reason of the first.
    peak_bytes: the most memory that a process of the venue has held at once; 0 when it is not known.
    device:     the mean seconds of `inference` that the caller's own device computed.
    fetched_bytes: what a device fetches once, at its first use. kept: seconds of the first call of a later use.
    """

    lane: Lane
    labelled: int
    seconds: Mapping[str, TimeSpread]
    cold: float | None
    images_per_second: float
    sent_bytes: float
    agreement: float | None
    failed: int
    why: str
    peak_bytes: int = 0
    device: float = 0.0
    fetched_bytes: int = 0
    kept: float = 0.0

    @property
    def capacity(self) -> float:
        """Images a second that one machine can do at least: as measured, or one after another without a wait.

        A single caller leaves a machine idle between calls; with enough callers the measured figure is the larger one.
        What the caller's device computes is no work of the machine.
        """
        if not self.seconds:
            return self.images_per_second
        return max(self.images_per_second, 1 / max(self.seconds["inference"].mean - self.device, 1e-4))


def rows(
    measurements: Iterable[Measurement], busy_seconds: Mapping[Lane, float], reference: Lane | None
) -> list[LaneFigures]:
    """A row for each lane, in the order of its first measurement.

    busy_seconds: for each lane, how long its measured rounds took together.
    """
    by_lane: dict[Lane, list[Measurement]] = {}
    for measurement in measurements:
        by_lane.setdefault(measurement.lane, []).append(measurement)
    expected = _labels(by_lane[reference]) if reference in by_lane else {}
    return [_row(lane, told, busy_seconds.get(lane, 0.0), expected) for lane, told in by_lane.items()]


def _row(lane: Lane, told: list[Measurement], busy: float, expected: Mapping[str, str]) -> LaneFigures:
    failed = [one for one in told if one.error]
    good = [one for one in told if one.phase == "measured" and not one.error]
    first = next((one for one in told if one.phase == "cold" and not one.error), None)
    labels = _labels(told)
    common = [photo for photo in labels if photo in expected]
    same = sum(labels[photo] == expected[photo] for photo in common)
    return LaneFigures(
        lane=lane,
        labelled=len(good),
        seconds={part: TimeSpread.of([getattr(one, part) for one in good]) for part in PARTS} if good else {},
        cold=first.total if first else None,
        images_per_second=len(good) / busy if busy else 0.0,
        sent_bytes=statistics.fmean(one.sent_bytes for one in good) if good else 0.0,
        agreement=same / len(common) if common else None,
        failed=len(failed),
        device=statistics.fmean(one.device for one in good) if good else 0.0,
        why=failed[0].error if failed else "",
        fetched_bytes=first.fetched_bytes if first else 0,
        kept=first.kept if first else 0.0,
    )


def _labels(told: Iterable[Measurement]) -> dict[str, str]:
    """The name of a photo -> its label in the last measured round."""
    return {one.photo: one.label for one in told if one.phase == "measured" and not one.error}
