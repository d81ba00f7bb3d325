"""What labelling so many photos will take and cost, said before they are sent. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shoal.settings import Settings
from web_tier.results.hub import PoolState

DIGITS = 1  # of a price: more would promise too much


@dataclass(frozen=True, slots=True)
class Estimate:
    """seconds: from the last photo sent to the last answer. price: of the machines' time that the photos need; None
    where no price is known."""

    seconds: float
    price: float | None


def estimate(
    photos: int, service_seconds: float, boot_seconds: float, pool: PoolState, settings: Settings, price: float | None
) -> Estimate:
    """By the time that a photo costs a worker, for workers as many as the controller's target asks for.

    price: of an instance for an hour.
    """
    work = (photos + pool.visible + pool.in_flight) * service_seconds
    running = pool.running + pool.draining
    start = 0.0 if running else boot_seconds
    wanted = math.ceil(work / max(service_seconds, settings.target_seconds - boot_seconds))
    workers = max(1, min(settings.max_instances, max(running, wanted)))
    each = None if price is None else photos * service_seconds / 3600 * price
    return Estimate(start + max(service_seconds, work / workers), each)


def dollars(amount: float) -> str:
    """A small amount in US dollars: $0.00002, $0.31, $12.40."""
    if amount >= 0.1 or amount <= 0:
        return f"${amount:.2f}"
    places = -math.floor(math.log10(amount)) + DIGITS - 1
    return f"${amount:.{places}f}"
