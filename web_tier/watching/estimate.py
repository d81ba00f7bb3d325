"""How long labelling will take and what it will cost, estimated before photos are sent. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shoal.prices import cost_in_words, price_in_words, roughly
from shoal.settings import Settings
from web_tier.results.hub import PoolState
from web_tier.watching.history import Moment
from web_tier.words import duration


@dataclass(frozen=True, slots=True)
class Estimate:
    """seconds: from the last photo sent to the last answer. price: of the instances' time that the photos need, in US
    dollars; None when the price of an instance is unknown."""

    seconds: float
    price: float | None


def estimate(
    photos: int, service_seconds: float, boot_seconds: float, pool: PoolState, settings: Settings, price: float | None
) -> Estimate:
    """Divide the work by the number of workers that the controller's target asks for.

    service_seconds: a worker's time for one photo. boot_seconds: from a launch to a working instance. price: of an
    instance for an hour, in US dollars.
    """
    work = (photos + pool.visible + pool.in_flight) * service_seconds
    running = pool.workers
    start = 0.0 if running else boot_seconds
    wanted = math.ceil(work / max(service_seconds, settings.target_seconds - boot_seconds))
    workers = max(1, min(settings.max_instances, max(running, wanted)))
    each = None if price is None else photos * service_seconds / 3600 * price
    return Estimate(start + max(service_seconds, work / workers), each)


def on_this_server(photos: int, per_second: float) -> Estimate:
    """The same where the web process labels the photos itself: it starts nothing, and costs nothing more."""
    return Estimate(photos / per_second, 0.0)


def measured(past: Sequence[Moment] | None, settings: Settings) -> tuple[float, float]:
    """A worker's seconds for one photo and the seconds of a boot: as last measured, else from the settings."""
    if not past:
        return settings.expected_service_seconds, settings.expected_boot_seconds
    return past[-1].service_seconds, past[-1].boot_seconds


def in_words(found: Estimate, settings: Settings) -> str:
    """An estimate in a few words, or why it has no price."""
    if found.price is None:
        return f"{about(found.seconds)}, {price_in_words(settings)}"
    return f"{about(found.seconds)}, {cost_in_words(settings, roughly(found.price))}"


def about(seconds: float) -> str:
    """An estimated time in words."""
    return duration(seconds) if seconds < 1 else f"about {duration(seconds)}"


def no_start(past: Sequence[Moment] | None, pool: PoolState) -> str:
    """Why no worker would start for new photos, in a sentence; empty when one would, or works already."""
    if not past or not past[-1].no_launch or pool.workers or pool.pending:
        return ""
    return f"No worker can start: {past[-1].no_launch}"
