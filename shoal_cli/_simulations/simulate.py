"""`shoal simulate`: what each scaling policy would have cost, and how late it would have been."""

from __future__ import annotations

from typing import Any

import click

from shoal import settings
from shoal_cli._simulations._options import arrival_options, scenario, show, simulation_options, with_arrivals


@click.command(short_help="Simulate policies on made or recorded arrivals.")
@arrival_options
@simulation_options
def command(**values: Any) -> None:
    """Simulate scaling policies on made or recorded arrivals, and print what each costs and how long photos wait.

    Runs the real controller with a clock that is set by hand, and models of what others use: target_tracking,
    predictive, keda, buildkite, one_at_a_time, fixed. Beside them stand two that know the future. Nothing is launched.
    """
    chosen, times, seconds = with_arrivals(**values)
    show(chosen, scenario(chosen, settings.load_with_own_file(), times, seconds))
