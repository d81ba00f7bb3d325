"""What a run of the simulator says about a policy. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shoal.prices import LEAST_BILLED_SECONDS

Billing = Literal["second", "hour"]

MONTH_SECONDS = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Prices:
    """What machines cost. per_hour: in US dollars. billing: by the second (a minute at least), or by the begun hour."""

    per_hour: float
    billing: Billing = "second"

    def of(self, machine_seconds: Sequence[float]) -> float:
        """The cost of machines that ran for so many seconds each."""
        if self.billing == "hour":
            return self.per_hour * sum(max(1, math.ceil(one / 3600)) for one in machine_seconds)
        return self.per_hour / 3600 * sum(max(one, LEAST_BILLED_SECONDS) for one in machine_seconds)


@dataclass(frozen=True, slots=True)
class ScalerFigures:
    """One row of the comparison. Times are in seconds, costs in US dollars.

    wait_p50, wait_p95, wait_p99, wait_most: from a photo's arrival to its label.
    first_result:    from the first arrival to the first label.
    within:          the share of the photos that were labelled within the target.
    machine_hours:   from launch to end, of all machines together.
    per_1000, month: the cost of a thousand photos, and of 30 days like this.
    busy_killed:     machines that were ended while they had photos.
    """

    name: str
    photos: int
    wait_p50: float
    wait_p95: float
    wait_p99: float
    wait_most: float
    first_result: float
    within: float
    machine_hours: float
    cost: float
    per_1000: float
    month: float
    launches: int
    most_machines: int
    busy_killed: int
    interrupted: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Costs:
    """What the machines of a run did and cost. cost: in US dollars."""

    machine_seconds: float
    cost: float
    launches: int
    most_machines: int
    busy_killed: int = 0
    interrupted: int = 0


def figures(
    name: str, arrivals: Sequence[float], finished: Sequence[float], target: float, costs: Costs, seconds: float
) -> ScalerFigures:
    """Compute a row. finished: when each photo was labelled. seconds: how long the trace is, to tell a month's cost."""
    waits = sorted(end - begin for begin, end in zip(arrivals, finished, strict=True))
    count = len(waits)
    return ScalerFigures(
        name,
        count,
        quantile(waits, 0.5),
        quantile(waits, 0.95),
        quantile(waits, 0.99),
        waits[-1],
        min(finished) - arrivals[0],
        sum(one <= target for one in waits) / count,
        costs.machine_seconds / 3600,
        costs.cost,
        costs.cost / count * 1000,
        costs.cost / seconds * MONTH_SECONDS,
        costs.launches,
        costs.most_machines,
        costs.busy_killed,
        costs.interrupted,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the ascending values do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
