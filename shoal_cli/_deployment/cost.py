"""`shoal cost`: what a Shoal on AWS costs."""

from __future__ import annotations

from typing import Any

import click

from shoal.deployment import costs
from shoal.deployment.choices import resources
from shoal.prices import dollars
from shoal_cli._deployment._options import choices_of, choices_options, deployed_settings

DAYS = {"day": 1.0, "week": 7.0, "month": 365 / 12, "year": 365.0}


@click.command()
@click.option("--images", default=1_000_000, show_default=True, type=click.IntRange(0), help="How many are labelled.")
@click.option("--per", default="month", show_default=True, type=click.Choice(list(DAYS)), help="In which time.")
@click.option(
    "--images-per-second",
    default=costs.IMAGES_PER_SECOND,
    show_default=True,
    type=click.FloatRange(0.001),
    help="What one busy worker does. `shoal models list` says what was measured here.",
)
@choices_options
def command(images: int, per: str, images_per_second: float, **options: Any) -> None:
    """Show what so many images cost on AWS. Makes no call."""
    chosen, choices = deployed_settings(), choices_of(options)
    share = DAYS[per] / DAYS["month"]
    rest = costs.total(costs.at_rest(chosen, choices, resources(chosen, choices))) * share
    click.echo(f"{dollars(rest):>12}  at rest, a {per}")
    for line in costs.per_thousand(chosen, images_per_second):
        amount = "no price" if line.dollars is None else dollars(line.dollars * images / 1000)
        click.echo(f"{amount:>12}  {line.what}")
    sum_of_images = costs.total(costs.per_thousand(chosen, images_per_second)) * images / 1000
    click.echo(f"{dollars(rest + sum_of_images):>12}  {images:,} images a {per}")
    click.echo(f"({costs.noted()}; without free tiers and without traffic to the internet)")
