"""Runs a comparison: the photos of each stint through its lane, a few at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from comparison.measurement import Lane, Measurement
from comparison.schedule import Stint


class Door(Protocol):
    """Sends a photo to a venue."""

    def measure(self, stint: Stint, photo: str, content: bytes) -> Measurement:
        """Send one photo through the stint's lane. Raises nothing: what goes wrong is in the measurement."""


@dataclass(frozen=True)
class Doors:
    """A door for each venue that has its own, by name, and one for the others."""

    own: Mapping[str, Door]
    others: Door

    def measure(self, stint: Stint, photo: str, content: bytes) -> Measurement:
        """Send one photo through the door of the stint's venue."""
        return self.own.get(stint.lane.venue, self.others).measure(stint, photo, content)


@dataclass(frozen=True)
class ClosedDoor:
    """The door of a venue that is not there."""

    why: str

    def measure(self, stint: Stint, photo: str, _content: bytes) -> Measurement:
        """A failed call that says why."""
        return Measurement(stint.lane, photo, stint.round, stint.phase, 0.0, error=self.why)


class _Stopped(Exception):
    """The run is asked to end."""


def _never() -> bool:
    return False


@dataclass
class MeasuredRun:
    """What was measured so far. busy_seconds: for each lane, how long its measured stints took together."""

    measurements: list[Measurement] = field(default_factory=list)
    busy_seconds: dict[Lane, float] = field(default_factory=dict)
    interrupted: bool = False


def run(
    stints: Iterable[Stint],
    door: Door,
    contents: Callable[[str, Lane], bytes],
    concurrency: int,
    tell: Callable[[MeasuredRun, Stint], object],
    stopped: Callable[[], bool] = _never,
) -> MeasuredRun:
    """Go through the stints. Ctrl-C, or `stopped` after a call, ends the run; what was measured is kept.

    A lane whose first call fails is left out of what follows: its row says why.
    contents: the bytes of a photo for a lane. tell: is called after each stint.
    """
    measured, out = MeasuredRun(), set[Lane]()
    try:
        with ThreadPoolExecutor(concurrency) as callers:
            for stint in stints:
                if stint.lane in out:
                    continue
                _run_stint(stint, door, contents, callers, measured, stopped)
                if stint.phase == "cold" and measured.measurements[-1].error:
                    out.add(stint.lane)
                tell(measured, stint)
    except (KeyboardInterrupt, _Stopped):
        measured.interrupted = True
    return measured


def _run_stint(
    stint: Stint,
    door: Door,
    contents: Callable[[str, Lane], bytes],
    callers: ThreadPoolExecutor,
    measured: MeasuredRun,
    stopped: Callable[[], bool],
) -> None:
    def call(photo: str) -> Measurement:
        return door.measure(stint, photo, contents(photo, stint.lane))

    began = time.perf_counter()
    calls = deque(callers.submit(call, photo) for photo in stint.photos)
    try:
        while calls:
            measured.measurements.append(calls.popleft().result())
            if stopped():
                raise _Stopped
    except (KeyboardInterrupt, _Stopped):
        for waiting in calls:
            waiting.cancel()
        raise
    if stint.phase == "measured":
        spent = time.perf_counter() - began
        measured.busy_seconds[stint.lane] = measured.busy_seconds.get(stint.lane, 0.0) + spent
