"""`shoal simulate`: what each scaling policy would have cost, and how late it would have been."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import click

from shoal import settings
from shoal_cli._simulations._options import (
    PUBLISHED_BOOT,
    PUBLISHED_SERVICE,
    Chosen,
    scenario,
    show,
    simulation_options,
)
from simulator import arrivals
from simulator.durations import constant


@click.command()
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A CSV file with a head line: a time in seconds, or a time and a count, on each line.",
)
@click.option(
    "--arrivals",
    "generator",
    type=click.Choice([*arrivals.GENERATORS, *arrivals.RECORDED]),
    default="day",
    show_default=True,
    help="How photos arrive when no trace is given.",
)
@click.option(
    "--photos", type=click.IntRange(1, arrivals.MOST_PHOTOS), default=20_000, show_default=True, help="How many arrive."
)
@click.option(
    "--hours",
    type=click.FloatRange(0, 24 * 366, min_open=True),
    default=24.0,
    show_default=True,
    help="In how much time.",
)
@click.option(
    "--published",
    is_flag=True,
    help=f"Boot {PUBLISHED_BOOT} s and {PUBLISHED_SERVICE} s a photo, as published for t2.small.",
)
@simulation_options
def command(trace: Path | None, generator: str, photos: int, hours: float, published: bool, **values: Any) -> None:
    """Simulate scaling policies on made or recorded arrivals, and print what each costs and how long photos wait.

    Runs the real controller with a clock that is set by hand, and models of what others use: target_tracking,
    predictive, keda, buildkite, one_at_a_time, fixed. Beside them stand two that know the future. Nothing is launched.
    """
    chosen = Chosen(**values)
    if published:
        values["service"] = chosen.service or constant(PUBLISHED_SERVICE)
        values["boot"] = chosen.boot or constant(PUBLISHED_BOOT)
        chosen = Chosen(**values)
    file = trace or arrivals.RECORDED.get(generator)
    if file:
        times = arrivals.read(file)
        seconds = times[-1]
    else:
        seconds = hours * 3600
        times = list(arrivals.GENERATORS[generator](photos, seconds, Random(chosen.seed)))
    show(chosen, scenario(chosen, settings.load_with_env_file(), times, seconds))
