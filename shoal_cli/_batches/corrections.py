"""`shoal corrections`: the photos whose labels people corrected, as a data set for `shoal train`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from shoal import settings
from shoal.aws import connect_to_running
from shoal.buckets.corrections import Corrections, checked
from shoal.clock import SystemClock
from shoal.errors import Permanent
from shoal.messages import Job
from shoal.ports import Cloud
from shoal_cli._batches._counted import counted

READERS = 8


@click.command(short_help="Copy the corrected photos, to train with them.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Copy the corrected photos to FOLDER, in a folder for each label, as `shoal train --dataset FOLDER` reads them.

    FOLDER may hold photos already. Repeat the command to add new corrections.
    """
    count, gone = export(connect_to_running(settings.load_with_env_file()), folder)
    click.echo(
        f"{counted(count, 'corrected photo')} in {folder}" + (f"; {gone} are no longer in the bucket" if gone else "")
    )


def export(cloud: Cloud, folder: Path) -> tuple[int, int]:
    """Write each corrected photo to `<folder>/<label>/<batch>-<index>-<name>`.

    Returns the number of written photos and of those that are no longer in the input bucket. May raise Retryable.
    """
    with ThreadPoolExecutor(READERS) as readers:
        found = Corrections(cloud.outputs, readers, SystemClock()).of("")
        written = list(readers.map(lambda one: _write(cloud, folder, *one), found.items()))
    return sum(written), len(written) - sum(written)


def _write(cloud: Cloud, folder: Path, key: str, label: str) -> bool:
    try:
        job = Job.from_key(key, "")
        home = folder / checked(label)  # checked again: it becomes a path
        photo = cloud.inputs.get(key)
    except Permanent:  # deleted, or not a photo of ours
        return False
    home.mkdir(parents=True, exist_ok=True)
    # With batch and index in front it must not be longer than 255 bytes.
    name = job.name.encode()[-200:].decode(errors="ignore")
    (home / f"{job.batch}-{job.index:05d}-{name}").write_bytes(photo)
    return True
