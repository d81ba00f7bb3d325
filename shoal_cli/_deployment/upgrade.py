"""`shoal upgrade`: let the workers start from another machine image."""

from __future__ import annotations

import time

import click

from shoal_cli._deployment._options import deployed_settings, explaining


@click.command()
@click.argument("image", default="")
@click.option("--back", is_flag=True, help="Return to the image that counted before.")
@click.option("--at-once", default=0, type=click.IntRange(0), help="How many leave together; a quarter when not given.")
@click.option("--list", "lists", is_flag=True, help="Show the images, and how many workers run from each.")
@click.option("--pause", default=2.0, hidden=True)
def command(image: str, back: bool, at_once: int, lists: bool, pause: float) -> None:
    """Move the workers to the newest machine image.

    IMAGE: the id or the name of another one. Workers of other images finish what they have taken and leave, a few at a
    time; the controller launches others in their place. No photo is lost. Safe to repeat.
    """
    from shoal.aws.deploying.upgrading import Upgrade

    if back and image:
        raise click.UsageError("name an image or say --back, not both")
    upgrade = Upgrade(deployed_settings(), click.echo, pause)
    again = "`shoal upgrade` again" if not back else "`shoal upgrade` with the id that is named after IMAGE"
    with explaining(f"{again} goes on from there", "interrupted; workers that were asked to leave do so"):
        if lists:
            for number, (one, workers) in enumerate(upgrade.images()):
                counts = "  <- new workers start from it" if number == 0 else ""
                click.echo(f"{one.id}  {one.name:<36} {workers:>4} workers{counts}")
            return
        began = time.monotonic()
        chosen = upgrade.choose(image, back)
        count = upgrade.roll(chosen, at_once)
    click.echo(f"All workers are of {chosen.name}: {count} of others have left, in {time.monotonic() - began:.0f} s.")
