"""`shoal instance-types`: the cheapest instance type for a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import click

from shoal import prices
from shoal.deployment import instance_types
from shoal.deployment.instance_types import TypeOffer, best_of_each_family, offers
from shoal.errors import Permanent
from shoal.prices import dollars
from shoal_cli._deployment._options import deployed_settings
from shoal_cli._deployment._rates import measured_rates, told_basis

HOW = (
    "measured: on this kind of CPU, for as many cores. reckoned: from another kind, by ResNet50's figures in\n"
    "docs/models.md; a hyperthread is half a core, AMX counts as VNNI. The engine alone: decoding comes on top."
)
SPOT = f"{instance_types.SPOT_SHARE:.0%}"
WORDS = {True: "measured", False: "reckoned"}


@click.command()
@click.argument("types", nargs=-1)
@click.option("--model", default="", help="The model; SHOAL_MODEL when not given.")
@click.option("--most", default=12, show_default=True, type=click.IntRange(1), help="How many are shown.")
def command(types: tuple[str, ...], model: str, most: int) -> None:
    """Show which instance types are the cheapest.

    TYPES: only these. What 1,000 images cost by what the model does a second on this machine, and by the kind of CPU.
    Makes no call.
    """
    chosen = deployed_settings()
    if model:
        chosen = replace(chosen, model=model, models="")
    rates = measured_rates(chosen)
    found = offers(rates, types)
    if unknown := [one for one in types if one not in {known.type for known in found}]:
        raise Permanent(f"no price and CPU is known of {', '.join(unknown)}, or it is too small for a worker")
    shown = found if types else best_of_each_family(found)
    click.echo(
        "type           CPU                    features        vCPU  images/s             1,000 images"
        f"   on spot, if {SPOT} of that"
    )
    for one in [one for one in shown if types or one.images_per_second is not None][:most]:
        click.echo(_told(one))
    if not types:
        click.echo("The best of each family.")
    if line := _without_a_rank(shown, offers(rates)[0]):
        click.echo(line)
    click.echo(told_basis(chosen, rates))
    click.echo(HOW)
    listed = [prices.listed()[one.type] for one in found]
    noted = min((one.noted for one in listed), default="")
    click.echo(f"Prices of us-east-1, noted {noted}, unverified: look up today's.")
    click.echo(
        f"Spot is no price of AWS': {SPOT} of on demand, assumed in {instance_types.SPOT_NOTED}. It changes each hour."
    )


def _without_a_rank(shown: Iterable[TypeOffer], best: TypeOffer) -> str:
    """Which types nobody measured, and how fast each must be to be as cheap as the best; empty for none."""
    if not best.per_thousand:
        return ""
    needed = [f"{one.type} {one.rate_for(best.per_thousand):.0f}" for one in shown if one.images_per_second is None]
    words = f"Without a rank, for nobody measured arm64. As cheap as {best.type} with so many images/s: "
    return words + ", ".join(needed) if needed else ""


def _told(one: TypeOffer) -> str:
    start = f"{one.type:<14} {one.family.cpu:<22} {one.family.kind:<14}  {one.vcpus:>4}"
    if one.images_per_second is None or one.per_thousand is None or one.per_thousand_spot is None:
        return f"{start}  not measured"
    rate = f"{one.images_per_second:>8.1f} {one.arithmetic:<8} {WORDS[one.is_measured]}"
    return f"{start}  {rate}  {dollars(one.per_thousand, 2):>9}  {dollars(one.per_thousand_spot, 2):>8}"
