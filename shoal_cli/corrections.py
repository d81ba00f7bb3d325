"""`shoal corrections`: the photos whose labels people corrected, as a data set for `shoal train`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from shoal import settings
from shoal.aws import connect
from shoal.clock import SystemClock
from shoal.corrections import Corrections, checked
from shoal.errors import Permanent
from shoal.messages import Job
from shoal.ports import Cloud

READERS = 8


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Fetch the corrected photos into FOLDER, a folder for each label: what `shoal train --dataset FOLDER` reads.

    It may hold photos already; doing it again adds what is new.
    """
    count, gone = export(connect(settings.load_with_env_file()), folder)
    click.echo(f"{count} corrected photos are in {folder}" + (f"; {gone} could not be had" if gone else ""))


def export(cloud: Cloud, folder: Path) -> tuple[int, int]:
    """Write each corrected photo to `<folder>/<label>/<batch>-<index>-<name>`; returns how many there are, and how
    many could not be had: photos that are gone from the input bucket. May raise Retryable."""
    with ThreadPoolExecutor(READERS) as readers:
        found = Corrections(cloud.outputs, readers, SystemClock()).of("")
        written = list(readers.map(lambda one: _write(cloud, folder, *one), found.items()))
    return sum(written), len(written) - sum(written)


def _write(cloud: Cloud, folder: Path, key: str, label: str) -> bool:
    try:
        job = Job.from_key(key, "")
        place = folder / checked(label)  # nobody but the web tier writes there, and still: it becomes a path
        photo = cloud.inputs.get(key)
    except Permanent:  # gone, or not one of ours
        return False
    place.mkdir(parents=True, exist_ok=True)
    name = job.name.encode()[-200:].decode(
        errors="ignore"
    )  # with what is before it no longer than a file's name may be
    (place / f"{job.batch}-{job.index:05d}-{name}").write_bytes(photo)
    return True
