"""The spend fuse: before a launch, compute what the pool could cost until the budget period ends. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from shoal.ledger import Spent

Period = Literal["hour", "day", "week", "month"]
PERIODS: tuple[Period, ...] = ("hour", "day", "week", "month")
ENDS: dict[Period, str] = {
    "hour": "the end of the hour",
    "day": "midnight UTC",
    "week": "the end of Sunday UTC",
    "month": "the end of the month UTC",
}
CENT = 0.01


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent.

    amount: for each period (UTC), in the currency of `price`.
    price:  of one instance for an hour.
    """

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

    def reckon(self, spent: Spent, now: float, machines: int) -> Spent:
        """Add the cost from `spent.at` to `now`; from then on `machines` run. A new period begins at zero."""
        begin = self.begin(now)
        before = spent.amount if spent.at >= begin else 0.0
        running = max(0.0, now - max(spent.at, begin))
        amount = before + spent.machines * running / 3600 * self.price
        return Spent(now, amount, machines, max(begin, spent.since))


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many machines may be launched now, and why not more."""

    machines: int
    why: str


def allowance(budget: Budget, spent: Spent) -> Allowance:
    """How many machines could run until the period's end, besides the present ones, within the amount."""
    hours = (budget.end(spent.at) - spent.at) / 3600
    each = hours * budget.price
    left = budget.amount - spent.amount - spent.machines * each
    count = max(0, math.floor(left / each))
    return Allowance(count, _why(budget, spent.amount, spent.machines + count, each))


def _why(budget: Budget, spent: float, machines: int, each: float) -> str:
    """What one machine more than `machines` costs and what is left for it: the sentence of ledger, page and command.

    each: the cost of a machine until the period's end.
    """
    left = budget.amount - spent - machines * each
    places = next((digits for digits in range(2, 7) if round(left, digits) < round(each, digits)), 2)
    rest = f"{_money(left, places)} are left" if left > 0 else "nothing is left"
    per = "an hour" if budget.period == "hour" else f"a {budget.period}"
    why = f"budget {_money(budget.amount)} {per}: one more machine to {ENDS[budget.period]} is "
    why += f"{_money(each, places)}, {rest}"
    if not spent and not machines:
        return why
    running = f", {machines} running to then cost {_money(machines * each)}" if machines else ""
    return f"{why} ({_money(spent)} are spent{running})"


def _money(amount: float, places: int = 2) -> str:
    """US dollars; an amount below a cent at least with its first digit."""
    if 0 < amount < CENT:
        places = max(places, -math.floor(math.log10(amount)))
    return f"${amount:.{places}f}"


def _begin(period: Period, at: datetime) -> datetime:
    hour = at.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    return {
        "hour": hour,
        "day": day,
        "week": day - timedelta(day.weekday()),
        "month": day.replace(day=1),
    }[period]
