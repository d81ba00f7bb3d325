"""Figures that others have published for systems of this kind, beside what the simulator says of them.

The publications say how many photos came and how long all took. They do not say how many machines there were and by
which rule they were launched, so each figure is set beside several assumptions. What no assumption yields is neither
boot nor work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from shoal.settings import Settings
from simulator.cloud_view import CountFaults
from simulator.durations import constant
from simulator.figures import Prices
from simulator.run import Scenario, run, terms_of
from simulator.world import Machines

BOOT, SERVICE = 71.53, 0.57  # seconds; of t2.small, as published
LAST_LABEL = {20: 230.15, 30: 215.67}  # photos -> seconds until all were labelled, as published
# As published: so many requests at once, of so many seconds each, and how many were answered within the time.
REQUESTS, REQUEST_SECONDS, IN_SECONDS, IN_TIME = 40, 50.0, 120.0, 38
# An account could run 20 machines by default; one of them served the page.
MACHINES = 19
QUICK_BOOT = 15.0  # seconds; of a machine that was stopped and is started again
ARRIVES_AT = 0.5  # seconds; after the first look, so that late counts begin with 0

_SMALL = Machines(constant(SERVICE), constant(BOOT))
_ONE_BY_ONE = Machines(constant(REQUEST_SECONDS), constant(QUICK_BOOT), ahead=1)


@dataclass(frozen=True, slots=True)
class Assumption:
    """How the published system may have worked. policy: of ours. lag: seconds until it learns of a photo."""

    words: str
    policy: str
    most: int
    machines: Machines
    lag: float = 0.0

    def scenario(self, photos: int, target: float) -> Scenario:
        """So many photos, all at once, and no machine."""
        terms = terms_of(replace(Settings(), max_instances=self.most, target_seconds=target))
        times = [ARRIVES_AT] * photos
        return Scenario(times, self.machines, terms, Prices(1.0), 1.0, counts=CountFaults(self.lag))


TIMES = (
    Assumption("one worker does all", "per_message", 1, _SMALL),
    Assumption("a worker for each photo, at most 19", "per_message", MACHINES, _SMALL),
    Assumption("Shoal's default, deadline", "deadline", MACHINES, _SMALL),
    Assumption("one worker, asked for 120 s late", "per_message", 1, _SMALL, 120.0),
    Assumption("one worker, asked for 180 s late", "per_message", 1, _SMALL, 180.0),
)
SHARES = (
    Assumption("19 workers, one request at a time, boot 15 s", "per_message", MACHINES, _ONE_BY_ONE),
    Assumption("20 such workers", "per_message", MACHINES + 1, _ONE_BY_ONE),
    Assumption("19 such workers, boot 71.53 s", "per_message", MACHINES, replace(_ONE_BY_ONE, boot=constant(BOOT))),
    Assumption("19 such workers, Shoal's default, deadline", "deadline", MACHINES, _ONE_BY_ONE),
    Assumption("19 of Shoal's workers", "per_message", MACHINES, replace(_ONE_BY_ONE, ahead=None)),
)


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What the simulator says under an assumption: a figure for each of the published ones, in their order."""

    assumption: Assumption
    found: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """Published figures and their reproductions. heads: what each figure is; why: the explanation, in sentences."""

    title: str
    heads: tuple[str, ...]
    figures: tuple[float, ...]
    reproduced: tuple[Reproduced, ...] = field(default=())
    why: tuple[str, ...] = field(default=())


def reproduce() -> tuple[Published, ...]:
    """Simulate every assumption. Takes about a second."""
    return _times(), _shares()


def _times() -> Published:
    found = _found(TIMES, [partial(_last_label, photos) for photos in LAST_LABEL])
    direct = [one.found for one in found if not one.assumption.lag]
    left = [
        round(published - seconds)
        for row in direct
        for published, seconds in zip(LAST_LABEL.values(), row, strict=True)
    ]
    return Published(
        f"Seconds until all photos were labelled; t2.small, boot {BOOT} s, {SERVICE} s a photo",
        tuple(f"{photos} photos" for photos in LAST_LABEL),
        tuple(LAST_LABEL.values()),
        found,
        (
            f"Boot and work explain no more than {max(map(max, direct)):.1f} s. {min(left)} to {max(left)} s are "
            "neither, and the 30 photos took less time than the 20: it was not work.",
            "A decision that comes so late explains both: an alarm on two one-minute metrics takes 120 to 180 s. "
            "What it was is not published.",
        ),
    )


def _shares() -> Published:
    found = _found(SHARES, [lambda one: _in_time(one, REQUESTS, IN_SECONDS)])
    return Published(
        f"Of {REQUESTS} requests at once, of {REQUEST_SECONDS:g} s each, answered within {IN_SECONDS:g} s",
        ("answered",),
        (float(IN_TIME),),
        found,
        (
            f"{IN_TIME} are two for each of {MACHINES} machines: one request after the other ends at 100 s and the "
            f"boot. So the boot took at most {IN_SECONDS - 2 * REQUEST_SECONDS:g} s, and two requests waited for a "
            "third turn.",
            "Shoal's worker takes one message until it knows how long one takes, and no second one when that is long.",
        ),
    )


def _found(
    assumptions: Sequence[Assumption], figures: Sequence[Callable[[Assumption], float]]
) -> tuple[Reproduced, ...]:
    return tuple(Reproduced(one, tuple(figure(one) for figure in figures)) for one in assumptions)


def _last_label(photos: int, assumption: Assumption) -> float:
    return run(assumption.policy, assumption.scenario(photos, Settings().target_seconds)).figures.wait_most


def _in_time(assumption: Assumption, requests: int, seconds: float) -> float:
    return round(run(assumption.policy, assumption.scenario(requests, seconds)).figures.within * requests)
