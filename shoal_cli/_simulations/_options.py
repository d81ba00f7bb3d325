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
from shoal.prices import price_per_hour
from shoal.settings import Settings
from shoal_cli._simulations import _page as page
from shoal_cli._simulations import _table as table
from simulator import plots
from simulator.arrivals import GENERATORS, MOST_PHOTOS, RECORDED, read
from simulator.cloud_view import CountFaults
from simulator.durations import SHAPES, Durations, constant, parse
from simulator.figures import Prices
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
    html: Path | None


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
    click.option("--html", type=_FILE, metavar="FILE", help="Write table, plots and settings there, as one page."),
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
    if chosen.html:
        chosen.html.write_text(page.of_comparison(found, simulated), encoding="utf-8")
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
    console = Console(highlight=False)
    console.print(table.what(simulated), soft_wrap=True)
    shown = Table("wait in seconds:", *table.HEAD, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in shown.columns:
        column.justify = "left" if column is shown.columns[0] else "right"
        column.no_wrap = True
    for row in table.rows(found, len(simulated.arrivals)):
        shown.add_row(*row)
    console.print(shown)
    for sentence in table.notes(found):
        console.print(sentence, soft_wrap=True)
