"""The options that `simulate` and `replay` share, and what the two show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from shoal.errors import Permanent
from shoal.prices import dollars, price_per_hour
from shoal.settings import Settings
from simulator import plots
from simulator.arrivals import GENERATORS, MOST_PHOTOS, RECORDED, read
from simulator.cloud_view import CountFaults
from simulator.durations import SHAPES, Durations, constant, parse
from simulator.figures import Prices, ScalerFigures
from simulator.oracles import WITHIN
from simulator.published import BOOT, SERVICE
from simulator.run import Progress as Tell
from simulator.run import Scenario, names, terms_of
from simulator.simulation import Simulation, compare
from simulator.world import Machines

F = TypeVar("F", bound=Callable[..., Any])

NEEDS_CALENDAR = "schedule"  # without a calendar it is `deadline`
_FILE = click.Path(dir_okay=False, path_type=Path)


class DurationsType(click.ParamType[Durations]):
    """A duration or a distribution of durations."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Durations:
        """Read it."""
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The values of the shared options."""

    policies: tuple[str, ...]
    service: Durations | None
    boot: Durations | None
    cores: int | None
    gives: int | None
    interruptions: float
    billing: Any
    price: float | None
    tick: float | None
    lag: float
    zeros: float
    target: float | None
    most: int | None
    seed: int
    as_json: bool
    png: Path | None


_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--policy",
        "policies",
        multiple=True,
        help="What to simulate, once for each: "
        + ", ".join(names())
        + ", or module:attribute. All but schedule by default.",
    ),
    click.option("--service", type=DurationsType(), help=f"A worker's time for a photo: {SHAPES}."),
    click.option("--boot", type=DurationsType(), help="From a launch until a worker can work, in the same form."),
    click.option(
        "--cores", type=click.IntRange(1), help="So many workers work at full speed at once; more share that."
    ),
    click.option("--gives", type=click.IntRange(1), help="How many machines the cloud gives at most."),
    click.option(
        "--interruptions",
        type=click.FloatRange(0),
        default=0.0,
        help="How often an hour a machine is taken back (spot).",
    ),
    click.option(
        "--billing",
        type=click.Choice(["second", "hour"]),
        default="second",
        show_default=True,
        help="How machines are billed.",
    ),
    click.option(
        "--price",
        type=click.FloatRange(0, min_open=True),
        help="US dollars an hour of a machine; of SHOAL_INSTANCE_TYPE by default.",
    ),
    click.option(
        "--tick", type=click.FloatRange(0.05), help="Seconds between decisions; SHOAL_TICK_SECONDS by default."
    ),
    click.option("--lag", type=click.FloatRange(0), default=0.0, help="Seconds that the counts of the queue are late."),
    click.option(
        "--zeros", type=click.FloatRange(0, 1), default=0.0, help="The share of the looks at the queue that read 0."
    ),
    click.option("--target-seconds", "target", type=click.FloatRange(0.1), help="SHOAL_TARGET_SECONDS by default."),
    click.option("--max-instances", "most", type=click.IntRange(1), help="SHOAL_MAX_INSTANCES by default."),
    click.option(
        "--seed", type=int, default=1, show_default=True, help="Of all dice: the same seed gives the same result."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON."),
    click.option("--png", type=_FILE, metavar="FILE", help="Draw backlog, machines and cost against wait there."),
)


_ARRIVALS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--trace",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A CSV file with a head line: a time in seconds, or a time and a count, on each line.",
    ),
    click.option(
        "--arrivals",
        "generator",
        type=click.Choice([*GENERATORS, *RECORDED]),
        default="day",
        show_default=True,
        help="How photos arrive when no trace is given.",
    ),
    click.option(
        "--photos", type=click.IntRange(1, MOST_PHOTOS), default=20_000, show_default=True, help="How many arrive."
    ),
    click.option(
        "--hours",
        type=click.FloatRange(0, 24 * 366, min_open=True),
        default=24.0,
        show_default=True,
        help="In how much time.",
    ),
    click.option(
        "--published",
        is_flag=True,
        help=f"Boot {BOOT} s and {SERVICE} s a photo, as published for t2.small.",
    ),
)


def arrival_options(command: F) -> F:
    """Give a command the options that say when photos arrive; `with_arrivals` reads them."""
    for option in reversed(_ARRIVALS):
        command = option(command)
    return command


def with_arrivals(
    trace: Path | None, generator: str, photos: int, hours: float, published: bool, **values: Any
) -> tuple[Chosen, Sequence[float], float]:
    """The values of both kinds of options: the shared ones, the arrivals, and the seconds that they last."""
    if published:
        values["service"] = values["service"] or constant(SERVICE)
        values["boot"] = values["boot"] or constant(BOOT)
    chosen = Chosen(**values)
    if file := trace or RECORDED.get(generator):
        times = read(file)
        return chosen, times, times[-1]
    times = list(GENERATORS[generator](photos, hours * 3600, Random(chosen.seed)))
    return chosen, times, hours * 3600


def simulation_options(command: F) -> F:
    """Give a command the shared options; it gets them as keyword arguments, for `Chosen`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def scenario(chosen: Chosen, settings: Settings, arrivals: Sequence[float], seconds: float) -> Scenario:
    """What is simulated. Raises Permanent where no price is known, SettingsError for wrong settings."""
    given = {"target_seconds": chosen.target, "max_instances": chosen.most}
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    price = chosen.price or price_per_hour(settings)
    if price is None:
        raise Permanent("no price is known for the instance type: give --price")
    machines = Machines(
        chosen.service or constant(settings.expected_service_seconds),
        chosen.boot or constant(settings.expected_boot_seconds),
        chosen.cores,
        chosen.gives,
        chosen.interruptions,
        settings.visibility_seconds,
    )
    return Scenario(
        arrivals,
        machines,
        terms_of(settings),
        Prices(price, chosen.billing),
        seconds,
        chosen.tick or settings.tick_seconds,
        CountFaults(chosen.lag, chosen.zeros),
        chosen.seed,
    )


def show(chosen: Chosen, simulated: Scenario) -> None:
    """Simulate, and print the comparison."""
    asked = chosen.policies or tuple(name for name in names() if name != NEEDS_CALENDAR)
    with _bar(asked, simulated) as tell:
        found = compare(asked, simulated, tell)
    if chosen.png:
        plots.draw(found, simulated.terms.target_seconds, chosen.png)
    if chosen.as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        _print(found, simulated)


@contextmanager
def _bar(asked: Sequence[str], simulated: Scenario) -> Iterator[Callable[[str], Tell]]:
    """A bar for all runs together, with the simulated time."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("simulating", total=(len(asked) + 1) * simulated.seconds)
        runs = iter(range(len(asked) + 1))

        def tell(name: str) -> Tell:
            before = next(runs) * simulated.seconds

            def at(seconds: float) -> None:
                done = before + min(seconds, simulated.seconds)
                progress.update(task, completed=done, description=f"{name}, hour {seconds / 3600:.1f}")

            at(0.0)
            return at

        yield tell


def _print(found: Simulation, simulated: Scenario) -> None:
    terms, kind = simulated.terms, simulated.machines
    console = Console(highlight=False)
    length = simulated.seconds / 3600
    console.print(
        f"{len(simulated.arrivals):,} photos in {length:.3g} h; a photo takes {kind.service.words}, a boot "
        f"{kind.boot.words}; target {terms.target_seconds:g} s, at most {terms.limits.most} machines at "
        f"{dollars(simulated.prices.per_hour)} an hour, billed by the {simulated.prices.billing}"
        f"{', a minute at least for each' if simulated.prices.billing == 'second' else ''}.",
        soft_wrap=True,
    )
    best = set(found.frontier())
    head = ("p50", "p95", "p99", "in time", "hours", "1,000", "month", "starts", "most")
    table = Table("wait in seconds:", *head, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in table.columns:
        column.justify = "left" if column is table.columns[0] else "right"
        column.no_wrap = True
    for ran in sorted(found.runs, key=lambda one: (one.figures.name not in best, one.figures.cost)):
        table.add_row(*_cells(ran.figures, "*" if ran.figures.name in best else ""))
    table.add_section()
    for name, one in (("oracle", found.oracle), ("late oracle", found.late_oracle)):
        if one:
            table.add_row(*_cells(one.figures, "", name))
    photos = len(simulated.arrivals)
    bound = found.bound
    hours = f"{bound.machine_seconds / 3600:.2f}"
    table.add_row("bound", *["-"] * 4, hours, _money(bound.cost / photos * 1000), *["-"] * 3)
    console.print(table)
    for name, why in found.failed.items():
        console.print(f"{name}: {why}", soft_wrap=True)
    for sentence in _notes(found):
        console.print(sentence, soft_wrap=True)


def _cells(row: ScalerFigures, mark: str, name: str = "") -> list[str]:
    return [
        f"{name or row.name}{mark}",
        *(f"{value:.1f}" if value < 100 else f"{value:,.0f}" for value in (row.wait_p50, row.wait_p95, row.wait_p99)),
        f"{row.within:.1%}".replace("%", " %"),
        f"{row.machine_hours:.2f}",
        _money(row.per_1000),
        f"${row.month:,.0f}" if row.month >= 10 else _money(row.month),
        f"{row.launches:,}",
        f"{row.most_machines:,}",
    ]


def _money(amount: float) -> str:
    return dollars(amount, 2)


def _notes(found: Simulation) -> Iterator[str]:
    yield "hours: of all machines together. 1,000 and month: US dollars for 1,000 photos, and for 30 days like this."
    yield "* no other is both cheaper and sooner (p95) by more than 2 %. bound: no policy needs less machine time."
    if found.oracle:
        yield (
            "oracle: the cheapest schedule found with 99 % in the target, which knows every arrival; late oracle: it "
            "launches nothing before the first photo after an idle time."
        )
    elif in_time := [one.figures.name for one in found.runs if one.figures.within >= WITHIN]:
        yield f"Of the schedules that were tried none labels 99 % within the target. These do: {', '.join(in_time)}."
    else:
        yield "No schedule was found that labels 99 % within the target, even if it knows every arrival."
    if killed := [one.figures.name for one in found.runs if one.figures.busy_killed]:
        yield f"These ended machines while they had photos, which others labelled later: {', '.join(killed)}."
