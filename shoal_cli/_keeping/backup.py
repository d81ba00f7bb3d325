"""`shoal backup`: the state of this Shoal in one file."""

from __future__ import annotations

from pathlib import Path

import click

from shoal import settings
from shoal.errors import Permanent
from shoal.state_folder import backup
from shoal_cli._keeping._models import versions


@click.command(short_help="Write photos, results, queues and settings to one file.")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Write the state in SHOAL_STATE_DIR to FILE, a tar.gz that you alone can read. Shoal may run meanwhile.

    In it: photos, results, queues, tables, the ledger, settings.env, the batches sent from here. A file of this name is
    replaced once the new one is whole. Not in it: prepared models (SHOAL_CACHE_DIR), which it names as the
    running controller or else the environment says, variables of the environment, logs, and whatever is on AWS.
    """
    chosen = settings.in_force.applied(settings.load())
    models = versions(chosen)
    try:
        count = backup.write(chosen.state_dir, file, chosen.prefix, models)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise Permanent(f"cannot write {file} ({error.strerror}): name a file where you may write") from error
    click.echo(f"{file}: {count} files, {file.stat().st_size / 1e6:.1f} MB")
    if models:
        click.echo(f"Not in it: {', '.join(sorted(models))} in {chosen.cache_dir}")
