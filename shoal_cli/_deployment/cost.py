"""`shoal cost`: what a Shoal on AWS costs."""

from __future__ import annotations

from typing import Any

import click

from shoal.deployment import costs
from shoal.deployment.choices import resources
from shoal.deployment.instance_types import MeasuredRates, TypeOffer, offer, offers
from shoal.prices import dollars
from shoal_cli._deployment._options import choices_of, choices_options, deployed_settings
from shoal_cli._deployment._rates import measured_rates

DAYS = {"day": 1.0, "week": 7.0, "month": 365 / 12, "year": 365.0}


@click.command()
@click.option("--images", default=1_000_000, show_default=True, type=click.IntRange(0), help="How many are labelled.")
@click.option("--per", default="month", show_default=True, type=click.Choice(list(DAYS)), help="In which time.")
@click.option(
    "--images-per-second",
    type=click.FloatRange(0.001),
    help="What one busy worker does; reckoned for its type as by `shoal instance-types` when not given.",
)
@choices_options
def command(images: int, per: str, images_per_second: float | None, **options: Any) -> None:
    """Show what so many images cost on AWS. Makes no call."""
    chosen, choices = deployed_settings(), choices_of(options)
    rates = measured_rates(chosen)
    known = offer(chosen.instance_types[0], rates)
    told = f"{images_per_second:g} images/s as you say" if images_per_second else ""
    if images_per_second is None:
        images_per_second, told = _reckoned(known)
    share = DAYS[per] / DAYS["month"]
    rest = costs.total(costs.at_rest(chosen, choices, resources(chosen, choices))) * share
    click.echo(f"{dollars(rest):>12}  at rest, a {per}")
    for line in costs.per_thousand(chosen, images_per_second):
        amount = "no price" if line.dollars is None else dollars(line.dollars * images / 1000)
        click.echo(f"{amount:>12}  {line.what}")
    sum_of_images = costs.total(costs.per_thousand(chosen, images_per_second)) * images / 1000
    click.echo(f"{dollars(rest + sum_of_images):>12}  {images:,} images a {per}")
    if told:
        click.echo(f"({told}. {_cheapest(rates)})")
    click.echo(f"({costs.noted()}; without free tiers and without traffic to the internet)")


def _reckoned(known: TypeOffer | None) -> tuple[float, str]:
    """Images/s of one worker, and where that comes from."""
    if known is None or known.images_per_second is None:
        return costs.IMAGES_PER_SECOND, f"{costs.IMAGES_PER_SECOND:g} images/s is a guess: nobody measured this type"
    how = "measured here" if known.is_measured else "reckoned from another kind of CPU"
    return round(known.images_per_second, 1), f"{known.images_per_second:.1f} images/s on {known.type}: {how}"


def _cheapest(rates: MeasuredRates) -> str:
    best = offers(rates)[0]
    amount = dollars(best.per_thousand or 0.0, 2)
    return f"The cheapest is {best.type}, {amount} for 1,000 images: `shoal instance-types`"
