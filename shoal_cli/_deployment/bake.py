"""`shoal bake`: make the machine image of the workers on AWS."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from shoal.errors import ShoalError
from shoal.folders import folder
from shoal.settings import Settings
from shoal_cli._deployment._options import deployed_settings, explaining


@click.command()
@click.option("--keep", default=3, show_default=True, type=click.IntRange(1), help="How many of its images stay.")
@click.option("--type", "type_", default="", help="The builder's instance type; the workers' when not given: best.")
@click.option("--from", "image", default="", help="The image to begin with; the newest Debian 12 when not given.")
@click.option("--subnet", default="", help="The builder's subnet; one of the default network when not given.")
@click.option("--security-group", "group", default="", help="Its security group: no way in, HTTP and HTTPS out.")
@click.option("--wheels", is_flag=True, help="Send the packages, too: for a builder that cannot reach PyPI.")
@click.option("--pause", default=5.0, hidden=True)
def command(keep: int, type_: str, image: str, subnet: str, group: str, wheels: bool, pause: float) -> None:
    """Make the workers' machine image on AWS.

    It has the models that are prepared here. A machine is launched for it, for some minutes. It is gone at the end.
    What a killed command leaves, the next one removes.
    """
    from shoal.aws.deploying.baking import Baking, Builder

    chosen = deployed_settings()
    began = time.monotonic()
    baking = Baking(chosen, Builder(image, type_, subnet, group), click.echo, pause)
    with explaining("`shoal bake` again begins anew, and removes what is left", "interrupted"):
        click.echo(f"As {baking.begin()}.")
        with tempfile.TemporaryDirectory(prefix="shoal-bake-") as place:
            made = baking.bake(_packed(Path(place), chosen, wheels), keep)
    click.echo(f"Baked {made} in {time.monotonic() - began:.0f} s. New workers start from it.")
    if chosen.image.startswith("ami-") and chosen.image != made:
        click.echo(f"But SHOAL_AMI says {chosen.image}: unset it, or set it to {made}.")


def _packed(place: Path, chosen: Settings, wheels: bool) -> Path:
    """What the image is made of, packed. Raises ShoalError: the reason has been printed."""
    click.echo("Packing code and models, and labelling the example photos with them ...")
    packed = place / "packed.tar"
    asked = {
        "CACHE_DIR": chosen.cache_dir.absolute(),
        "MODEL": chosen.model,
        "MODELS": chosen.models,
        "TAILS": chosen.tails,
    }
    environment = (
        os.environ | {f"SHOAL_{name}": str(value) for name, value in asked.items()} | {"PYTHON": sys.executable}
    )
    command = [str(folder("ami") / "pack-worker"), str(packed), *(["wheels"] if wheels else [])]
    if subprocess.run(command, env=environment, check=False).returncode:
        raise ShoalError("code and models could not be packed (see above): `shoal models prepare` prepares models")
    return packed
