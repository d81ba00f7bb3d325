"""The spend fuse: what the pool could cost until the budget's end, reckoned before a launch. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Period = Literal["hour", "day", "week", "month"]
PERIODS: tuple[Period, ...] = ("hour", "day", "week", "month")


@dataclass(frozen=True, slots=True)
class Budget:
    """amount: what may be spent in each period (UTC), in the currency of `price`: that of one instance for an hour."""

    amount: float
    period: Period
    price: float

    def begin(self, now: float) -> float:
        """When the period that holds `now` began (both seconds since 1970)."""
        return _begin(self.period, datetime.fromtimestamp(now, UTC)).timestamp()

    def end(self, now: float) -> float:
        """When the period that holds `now` ends."""
        begin = _begin(self.period, datetime.fromtimestamp(now, UTC))
        # A month is at most 31 days long, so 32 days from its first are in the next.
        step = {"hour": timedelta(hours=1), "day": timedelta(1), "week": timedelta(7), "month": timedelta(32)}
        return _begin(self.period, begin + step[self.period]).timestamp()


@dataclass(frozen=True, slots=True)
class Spent:
    """What this period has cost so far. at: until when that is reckoned. machines: how many have run since then."""

    at: float
    amount: float = 0.0
    machines: int = 0

    def until(self, now: float, machines: int, budget: Budget) -> Spent:
        """Reckoned on to `now`; from there `machines` run. A new period begins at zero."""
        begin = budget.begin(now)
        before = self.amount if self.at >= begin else 0.0
        running = max(0.0, now - max(self.at, begin))
        return Spent(now, before + self.machines * running / 3600 * budget.price, machines)


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many machines may be launched now, and why no more."""

    machines: int
    why: str


def allowance(budget: Budget, spent: Spent) -> Allowance:
    """The fuse: as many as could run until the period's end, beside those that run, without passing the amount."""
    hours = (budget.end(spent.at) - spent.at) / 3600
    each = hours * budget.price
    left = budget.amount - spent.amount - spent.machines * each
    count = max(0, math.floor(left / each))
    why = (
        f"budget {budget.amount:g} a {budget.period}: {spent.amount:.2f} spent, and {spent.machines} running "
        f"for the {hours:.1f} h that are left may cost {spent.machines * each:.2f}"
    )
    return Allowance(count, why)


def _begin(period: Period, at: datetime) -> datetime:
    hour = at.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    return {
        "hour": hour,
        "day": day,
        "week": day - timedelta(day.weekday()),
        "month": day.replace(day=1),
    }[period]
