"""`shoal export`: the results of bulk runs as other tools import them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from runs.exports import coco, fiftyone, label_studio, parquet, source_ref, table
from runs.exports.results import BucketResults, ExportPhoto, FolderResults, exported, start_of
from runs.finishing import Place
from runs.records import RunRecords
from runs.run import FAILED_OF, S3, Run, split_address
from shoal import settings
from shoal.aws import connect_to_running
from shoal.errors import BucketMissing, NotFound, Permanent
from shoal.messages import is_batch
from shoal.ports import Cloud
from shoal_cli._batches._counted import counted

Write = Callable[[Iterable[ExportPhoto], Path], str]

FORMATS: dict[str, Write] = {
    "label-studio": label_studio.write,
    "coco": coco.write,
    "fiftyone": fiftyone.write,
    "source-ref": source_ref.write,
    "csv": table.write,
    "parquet": parquet.write,
}
FOLDER = "fiftyone"  # its --out is a folder
WITH_FAILED = ("csv", "parquet")  # the others have no place for a photo that failed


@click.command(short_help="Write the results of bulk runs for other tools.")
@click.argument("results")
@click.option("--to", "form", type=click.Choice(list(FORMATS)), required=True, help="What the other tool imports.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file; for fiftyone, the folder.")
@click.option("--photos", default="", metavar="START", help="What addresses of photos begin with, before their keys.")
def command(results: str, form: str, out: Path, photos: str) -> None:
    """Write RESULTS, the labels of bulk runs, as another tool imports them.

    RESULTS is the id of a finished run, or what `shoal label --into` named: s3://bucket/prefix, or a folder. Of a
    photo that several runs have labelled, the last counts. Failed photos are in CSV and Parquet alone.
    """
    if out.is_file() if form == FOLDER else out.is_dir():
        raise click.UsageError(f"--to {form} writes a {'folder' if form == FOLDER else 'file'}, which {out} is not")
    if photos and photos[-1] not in "/=":  # Label Studio's own addresses of local files end so
        photos += "/"
    counts = {"done": 0, "failed": 0}
    remark = FORMATS[form](_counting(found(results, photos), counts, form in WITH_FAILED), out)
    kept = form in WITH_FAILED
    failed = f"; {counted(counts['failed'], 'failed photo')} {'among them' if kept else 'left out'}"
    written = counted(counts["done"] + kept * counts["failed"], "photo")
    click.echo(f"{written} in {out}{remark}{failed if counts['failed'] else ''}")


def _counting(photos: Iterable[ExportPhoto], counts: dict[str, int], with_failed: bool) -> Iterator[ExportPhoto]:
    for photo in photos:
        counts[photo.row.result.status] += 1
        if with_failed or not photo.row.failed:
            yield photo


def found(results: str, photos: str) -> Iterator[ExportPhoto]:
    """The photos. Raises Permanent or NotFound."""
    if not results.startswith(S3) and Path(results).is_dir():
        return exported(FolderResults(Path(results)), "", photos)
    if results.startswith(S3):
        bucket, prefix = split_address(results)
        files = BucketResults(_cloud().buckets[bucket], f"{prefix.rstrip('/')}/" if prefix else "")
        try:
            return exported(files, "", photos)
        except BucketMissing:
            raise Permanent(f"there is no bucket {bucket}") from None
    return _of_run(results, photos)


def _of_run(run: str, photos: str) -> Iterator[ExportPhoto]:
    if not is_batch(run):
        raise NotFound(f"{run!r} is no run, no folder and no address like s3://bucket/prefix: `shoal runs` lists runs")
    cloud = _cloud()
    records = RunRecords(cloud.outputs)
    if not records.summary(run):
        raise Permanent(f"run {run} is not finished: `shoal runs show {run}`")
    found = records.run(run)
    place = Place(found, cloud.outputs, cloud.buckets)
    first = found
    while first.source.startswith(FAILED_OF):  # a run that tried again has the photos of another
        first = records.run(first.source.removeprefix(FAILED_OF))
    return exported(BucketResults(place.bucket, place.prefix), run, photos or _start_of(first))


def _start_of(run: Run) -> str:
    return start_of(f"{S3}{run.bucket}/" if run.list_kind else run.source)


def _cloud() -> Cloud:
    return connect_to_running(settings.load_with_env_file())
