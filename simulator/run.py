"""Runs a scaler on a world to the end, and says what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from controller.policy import Policy, Terms
from controller.rules import Rules
from shoal import plugins
from shoal.errors import SettingsError
from shoal.settings import Settings
from simulator.cloud_view import CountFaults
from simulator.figures import Costs, Prices, ScalerFigures, figures
from simulator.scalers import Conditions, MakeScaler, Scaler
from simulator.scalers._ours import OurController
from simulator.world import Machines, World

TAIL_SECONDS = 4 * 3600.0  # after the last arrival: what is not labelled by then is never labelled
SETTLED_SECONDS = 1200.0  # a pool that was the same for so long shrinks no more: no scaler waits longer
SAMPLES = 500  # points of a plot

Progress = Callable[[float], None]


class Unfinished(Exception):
    """Photos are not labelled hours after the last one arrived."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    arrivals: seconds from the beginning, ascending, at least one.
    seconds:  the length of the trace; machines that stay cost until then.
    tick:     seconds between two looks of a scaler.
    """

    arrivals: Sequence[float]
    machines: Machines
    terms: Terms
    prices: Prices
    seconds: float
    tick: float = 1.0
    counts: CountFaults = field(default_factory=CountFaults)
    seed: int = 1

    def world(self) -> World:
        """A world in which nothing has happened yet."""
        return World(self.arrivals, self.machines, self.seed)

    def conditions(self) -> Conditions:
        """What a scaler knows at the beginning."""
        kind = self.machines
        return Conditions(self.terms, kind.service.mean, kind.boot.mean, self.counts, self.seed)


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of a plot. at: seconds. machines: those that exist; ready: those that can work."""

    at: float
    backlog: int
    machines: int
    ready: int


@dataclass(frozen=True, slots=True)
class Ran:
    """A run: its row, and its course."""

    figures: ScalerFigures
    course: tuple[Sample, ...]


def terms_of(settings: Settings) -> Terms:
    """What the settings ask of a policy. Raises SettingsError."""
    return Rules.of(settings).terms


def names() -> list[str]:
    """Our policies, and the models of other scalers."""
    return [*plugins.available("controller.policies"), *plugins.available("simulator.scalers")]


def maker(name: str) -> MakeScaler:
    """What makes the scaler of this name: a policy of ours, "module:attribute", or a model. Raises SettingsError."""
    if name in plugins.available("simulator.scalers"):
        make: MakeScaler = plugins.load(name, "simulator.scalers", "make")
        return make
    if ":" not in name and name not in plugins.available("controller.policies"):
        raise SettingsError(f"{name!r} is not simulated; these are: {', '.join(names())}, or module:attribute")
    policy: Policy = plugins.load(name, "controller.policies", "policy")
    return lambda world, conditions: OurController(world, conditions, policy)


def run(name: str, scenario: Scenario, make: MakeScaler | None = None, progress: Progress | None = None) -> Ran:
    """Simulate one scaler. progress: called now and then with the simulated seconds. Raises Unfinished."""
    world = scenario.world()
    scaler = (make or maker(name))(world, scenario.conditions())
    course = _until_the_end(world, scaler, scenario, progress or (lambda _: None))
    machine_seconds = [*world.totals.seconds_of, *(world.now - one.launched_at for one in world.machines.values())]
    costs = Costs(
        sum(machine_seconds),
        scenario.prices.of(machine_seconds),
        world.totals.launched,
        world.totals.most_machines,
        world.totals.busy_killed,
        world.totals.interrupted,
    )
    row = figures(
        name, scenario.arrivals, world.finished_at, scenario.terms.target_seconds, costs, max(scenario.seconds, 1.0)
    )
    return Ran(row, course)


def _until_the_end(world: World, scaler: Scaler, scenario: Scenario, progress: Progress) -> tuple[Sample, ...]:
    """Tick until the trace is over, all photos are labelled and no machine leaves any more."""
    end, tick = scenario.seconds, scenario.tick
    last_arrival = scenario.arrivals[-1]
    each = max(tick, max(end, last_arrival) / SAMPLES)
    course: list[Sample] = []
    number = 0
    sizes: tuple[int, float] = (-1, 0.0)  # how many machines there were, and since when
    while True:
        at = number * tick
        world.advance(at)
        scaler.tick()
        number += 1
        if not course or at - course[-1].at >= each:
            ready = sum(one.ready for one in world.machines.values())
            course.append(Sample(at, world.backlog, len(world.machines), ready))
            progress(at)
        if len(world.machines) != sizes[0]:
            sizes = (len(world.machines), at)
        if at >= end and world.over and _settled(world, sizes, at):
            return tuple(course)
        if at > max(end, last_arrival) + TAIL_SECONDS:
            raise Unfinished(f"{len(world.arrivals) - world.done:,} photos are not labelled {TAIL_SECONDS:g} s later")


def _settled(world: World, sizes: tuple[int, float], at: float) -> bool:
    """Whether the pool will not shrink any more."""
    return not world.machines or at - sizes[1] > SETTLED_SECONDS
