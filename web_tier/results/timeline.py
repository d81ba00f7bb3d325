"""Where a photo's time went: the stages that travel with its result, as a bar and in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from web_tier.words import duration

STAGES = ("upload", "queue", "fetch", "decode", "wait", "infer")  # docs/worker.md has their meaning


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a photo. duration: in words. start, width: its position in the bar, in percent of the whole."""

    name: str
    duration: str
    start: float
    width: float


def timeline(seconds: Mapping[str, float]) -> list[Stage]:
    """The measured stages in their order."""
    whole = total(seconds) or 1.0
    stages, start = list[Stage](), 0.0
    for name in STAGES:
        if name in seconds:
            width = 100 * seconds[name] / whole
            stages.append(Stage(name, duration(seconds[name], exact=True), round(start, 2), round(width, 2)))
            start += width
    return stages


def latency(seconds: Mapping[str, float]) -> str:
    """From the upload to the label, in words."""
    return duration(total(seconds), exact=True)


def total(seconds: Mapping[str, float]) -> float:
    """From the upload to the label, in seconds."""
    return sum(seconds.get(name, 0.0) for name in STAGES)
