"""`shoal destroy`: delete a Shoal on AWS."""

from __future__ import annotations

import click

from shoal.errors import Permanent
from shoal_cli._deployment._options import deployed_settings, explaining


@click.command()
@click.option("--keep-photos", "photos", flag_value="keep", help="Keep the buckets with photos and results.")
@click.option("--delete-photos", "photos", flag_value="delete", help="Delete all photos and results, for ever.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--pause", default=2.0, hidden=True)
def command(photos: str | None, yes: bool, pause: float) -> None:
    """Delete a Shoal on AWS: its workers, its page, its queues. Photos are kept or deleted, as told.

    Safe to repeat: what was interrupted goes on. At its end it looks what is left.
    """
    from shoal.aws.deploying.destroying import Destruction

    chosen = deployed_settings()
    destruction = Destruction(chosen, click.echo, pause)
    with explaining("Nothing was destroyed"):
        there = destruction.there()
    if not there:
        click.echo(f"Nothing tagged shoal:{chosen.prefix} is there.")
        return
    for kind, name in there:
        click.echo(f"  {kind:<20}{name}")
    if photos is None:
        if yes:
            raise click.UsageError("say --keep-photos or --delete-photos")
        photos = click.prompt("Photos and results", type=click.Choice(["keep", "delete"]), default="keep")
    if not yes:
        word = click.prompt(f"This cannot be undone. To destroy it, write its prefix ({chosen.prefix})", default="")
        if word != chosen.prefix:
            raise Permanent("nothing was destroyed")
    with explaining("`shoal destroy` again goes on from there"):
        left = destruction.destroy(delete_photos=photos == "delete")
    _tell_left(left, destruction.stays_with_photos() if photos == "keep" else set(), chosen.prefix)


def _tell_left(left: list[tuple[str, str]], stays: set[tuple[str, str]], prefix: str) -> None:
    others = [one for one in left if one not in stays]
    if others:
        named = ", ".join(f"{kind} {name}" for kind, name in others)
        raise Permanent(f"this is left: {named}. `shoal destroy` again tries once more")
    if left:
        click.echo(f"Kept, with the photos: {', '.join(name for _, name in left)}")
        click.echo(f"Nothing else tagged shoal:{prefix} is left.")
    else:
        click.echo(f"Nothing tagged shoal:{prefix} is left.")
