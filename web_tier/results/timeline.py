"""Where a photo's time went: the stages that travel with its result, as a bar and in words. Pure.

static/js/timeline.js says the same in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STAGES = ("upload", "queue", "fetch", "decode", "wait", "infer", "store", "publish")  # docs/worker.md has their meaning


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a photo. told: its time, for a person. start, width: its place in the bar, in percent of all."""

    name: str
    told: str
    start: float
    width: float


def timeline(seconds: Mapping[str, float]) -> list[Stage]:
    """The stages in their order; those that nobody measured are left out."""
    whole = total(seconds) or 1.0
    stages, start = list[Stage](), 0.0
    for name in STAGES:
        if name in seconds:
            width = 100 * seconds[name] / whole
            stages.append(Stage(name, short(seconds[name]), round(start, 2), round(width, 2)))
            start += width
    return stages


def total(seconds: Mapping[str, float]) -> float:
    """From the upload to the answer, in seconds."""
    return sum(seconds.get(name, 0.0) for name in STAGES)


def short(seconds: float) -> str:
    """A short time for a person."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{round(seconds)} s"
