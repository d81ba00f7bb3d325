"""The answer in two sentences: which lane to use now, and at which volume another becomes cheaper. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comparison.costs import MonthlyCost, cheaper_from
from comparison.figures import PARTS, LaneFigures
from comparison.measurement import RESIZED, Lane

CLEARLY = 1.05
SAME_LABELS = 0.95  # a lane whose labels differ more often than that is not advised
FEW_CALLS = 5  # of a lane: fewer say little of how its times vary
ANOTHER_DEVICE = " That is a browser of this machine: on a phone it takes longer."
NOTHING_MEASURED = "Nothing was measured, so there is no answer."
BROWSER = "browser"  # the venue that is the user's own device, whose photos stay there
REASONS = {
    "transfer": "the photo and its answer travel less",
    "wait": "photos wait less",
    "inference": "the model runs faster there",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """speed: which lane is the fastest, by how much and why. cost: which is cheaper, and from which volume on."""

    speed: str
    cost: str

    def __str__(self) -> str:
        return f"{self.speed} {self.cost}".strip()


def answer(rows: Sequence[LaneFigures], costs: Mapping[str, MonthlyCost], volume: int) -> Verdict:
    """Answer from the rows of what was measured. costs: venue -> its cost. volume: images a day."""
    usable = [row for row in rows if row.seconds and (row.agreement is None or row.agreement >= SAME_LABELS)]
    if not usable:
        return Verdict(NOTHING_MEASURED, "")
    ordered = sorted(usable, key=_seconds_to_beat)
    advised = {row.lane.venue for row in usable}
    left_out = {row.lane.venue for row in rows if row.seconds} - advised
    return Verdict(
        _speed(ordered, bool(left_out)),
        _cost({venue: cost for venue, cost in costs.items() if venue in advised}, volume),
    )


def _seconds_to_beat(row: LaneFigures) -> float:
    """The median time. To resize is work for the caller, so a resized lane must be clearly faster to come first."""
    return row.seconds["total"].p50 * (CLEARLY if row.lane.size == RESIZED else 1)


def _speed(ordered: Sequence[LaneFigures], others_differ: bool) -> str:
    """others_differ: a venue that is not among them was measured, and gives other labels."""
    best = ordered[0]
    mine = best.seconds["total"].p50
    others = [row for row in ordered[1:] if row.lane.venue != best.lane.venue]
    if not others:
        alone = "no other venue gives the same labels" if others_differ else "no other venue was measured"
        return f"{_named(best.lane)} takes {_ms(mine)} an image; {alone}."
    other = others[0]
    theirs = other.seconds["total"].p50
    if best.seconds["total"].p95 > theirs:
        return (
            f"There is no clear difference in speed: {best.lane} takes {_ms(mine)} an image and {other.lane} "
            f"{_ms(theirs)}, but one call in twenty to {best.lane} takes {_ms(best.seconds['total'].p95)} or more."
        )
    told = f"Use {best.lane}: {_ms(mine)} an image against {_ms(theirs)} with {other.lane}, for {_why(best, other)}."
    return told + _caution(best, other) + (ANOTHER_DEVICE if best.lane.venue == BROWSER else "")


def _caution(best: LaneFigures, other: LaneFigures) -> str:
    """What stands against the advice: few calls, or a difference of the means within two standard errors of it."""
    few = min(best.labelled, other.labelled)
    if few < FEW_CALLS:
        calls = "one call" if few == 1 else f"{few} calls"
        return f" That rests on {calls} alone: send more photos or rounds to be sure."
    mine, theirs = best.seconds["total"], other.seconds["total"]
    error = math.sqrt(mine.sd**2 / best.labelled + theirs.sd**2 / other.labelled)
    if theirs.mean - mine.mean < 2 * error:
        return " The times vary so much that this may be chance: send more photos or rounds to be sure."
    return ""


def _why(best: LaneFigures, other: LaneFigures) -> str:
    """The part of the time in which most is saved."""
    saved = {part: other.seconds[part].mean - best.seconds[part].mean for part in PARTS[:-1]}
    return REASONS[max(saved, key=saved.__getitem__)]


def _cost(costs: Mapping[str, MonthlyCost], volume: int) -> str:
    if not costs:
        return ""
    now = sorted(costs, key=lambda venue: costs[venue].month(volume))
    cheapest = now[0]
    told = f"At {volume:,} images a day {cheapest} is the cheapest, {_money(costs[cheapest].month(volume))} a month"
    changes = [
        (start, venue)
        for venue in now[1:]
        if (start := cheaper_from(costs[venue], costs[cheapest], at_least=volume)) is not None
    ]
    if changes:
        start, venue = min(changes)
        return f"{told}; from {start:,} images a day on {venue} is cheaper than {cheapest}."
    if len(now) > 1:
        return f"{told} against {_money(costs[now[1]].month(volume))} with {now[1]}, and stays so at any larger volume."
    return f"{told}."


def _named(lane: Lane) -> str:
    told = str(lane)
    return told[0].upper() + told[1:]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def _money(amount: float) -> str:
    return "nothing" if amount == 0 else f"${amount:,.2f}"
