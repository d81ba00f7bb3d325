"""`shoal restore`: a state that `shoal backup` wrote, back in a state folder."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import click

from shoal import settings
from shoal.state_folder import restore
from shoal_cli._keeping._models import differences


@click.command(short_help="Bring back what `shoal backup` wrote.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Move a state that is there aside.")
def command(file: Path, replace: bool) -> None:
    """Read FILE, which `shoal backup` wrote, into SHOAL_STATE_DIR: all of it, or nothing when it is damaged.

    Shoal must not run there, and the folder must be empty, or --replace moves what is in it aside.
    """
    os.umask(0o077)
    chosen = settings.load()
    done = restore.read(file, chosen.state_dir, replace)
    made = datetime.fromtimestamp(done.head.made).astimezone().strftime("%Y-%m-%d %H:%M")
    click.echo(f"{chosen.state_dir}: {done.files} files as of {made}. `shoal up` goes on with them.")
    if done.before is not None:
        click.echo(f"What was there is in {done.before}.")
    if done.head.prefix != chosen.prefix:
        click.echo(f"It was made with SHOAL_PREFIX={done.head.prefix}: set it, or its photos are not found.", err=True)
    for told in differences(done.head.models, chosen):
        click.echo(told, err=True)
