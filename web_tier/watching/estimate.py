"""How long labelling will take and what it will cost, estimated before photos are sent. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shoal.prices import price_in_words
from shoal.settings import Settings
from web_tier.results.hub import PoolState
from web_tier.watching.history import Moment
from web_tier.words import duration

DIGITS = 1  # significant digits of a small price: more would promise too much


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
    running = pool.running + pool.draining
    start = 0.0 if running else boot_seconds
    wanted = math.ceil(work / max(service_seconds, settings.target_seconds - boot_seconds))
    workers = max(1, min(settings.max_instances, max(running, wanted)))
    each = None if price is None else photos * service_seconds / 3600 * price
    return Estimate(start + max(service_seconds, work / workers), each)


def measured(past: Sequence[Moment] | None, settings: Settings) -> tuple[float, float]:
    """A worker's seconds for one photo and the seconds of a boot: as last measured, else from the settings."""
    if not past:
        return settings.expected_service_seconds, settings.expected_boot_seconds
    return past[-1].service_seconds, past[-1].boot_seconds


def in_words(found: Estimate, settings: Settings) -> str:
    """An estimate in a few words, or why it has no price."""
    cost = price_in_words(settings) if found.price is None else f"about {dollars(found.price)}"
    return f"about {duration(found.seconds)}, {cost}"


def dollars(amount: float) -> str:
    """A small amount in US dollars: $0.00002, $0.31, $12.40."""
    if amount >= 0.1 or amount <= 0:
        return f"${amount:.2f}"
    places = -math.floor(math.log10(amount)) + DIGITS - 1
    return f"${amount:.{places}f}"
