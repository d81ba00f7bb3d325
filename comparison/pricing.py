"""What the venues of a Shoal cost a month, from its settings, listed prices and the measured speeds."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.answer import BROWSER
from comparison.costs import AlwaysOn, FirstUses, MonthlyCost, PerCall, Pool
from comparison.figures import LaneFigures
from comparison.measurement import AS_IT_IS
from comparison.price_list import function_calls, pool_calls, sent_out
from comparison.split_venue import IN_LAMBDA
from shoal.prices import (
    FUNCTION_GB_SECOND,
    FUNCTION_MILLION_CALLS,
    billed_seconds,
    listed,
    price_per_hour,
    slower_with_little_memory,
)
from shoal.settings import Settings

WEB_MACHINE = "t3.small"  # runs the web tier and the controller of a pool
WAVES_A_DAY = 10.0


def monthly_costs(settings: Settings, rows: Sequence[LaneFigures]) -> dict[str, MonthlyCost]:
    """The cost of each venue that was measured, from the speed of its photos as they are; none without a price."""
    measured = [row for row in rows if row.seconds and row.lane.size == AS_IT_IS]
    worker = price_per_hour(settings)
    if worker is None:
        return {}
    costs: dict[str, MonthlyCost] = {}
    for row in measured:
        venue, speed = row.lane.venue, row.capacity
        if venue.endswith(IN_LAMBDA):
            spent = row.seconds["inference"].mean - row.device
            seconds = spent * slower_with_little_memory(settings.lambda_memory_mb) if settings.emulated else spent
            per_call = FUNCTION_MILLION_CALLS / 1e6
            costs[venue] = PerCall(settings.lambda_memory_mb / 1024, seconds, FUNCTION_GB_SECOND, per_call)
        elif venue == "pool" or venue.startswith("split "):
            kept = listed()[WEB_MACHINE].per_hour + settings.min_instances * worker
            idle = settings.quiet_seconds + settings.expected_boot_seconds
            costs[venue] = Pool(kept, worker, speed, idle, WAVES_A_DAY, pool_calls())
        elif venue == BROWSER:
            costs[venue] = FirstUses(sent_out(row.fetched_bytes), WAVES_A_DAY)
        elif venue == "local":
            costs[venue] = AlwaysOn(worker, speed)
        elif venue == "lambda":
            billed = billed_seconds(settings, row.seconds["inference"].mean)
            per_image = FUNCTION_MILLION_CALLS / 1e6 + function_calls()
            costs[venue] = PerCall(settings.lambda_memory_mb / 1024, billed, FUNCTION_GB_SECOND, per_image)
    return costs
