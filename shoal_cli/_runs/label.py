"""`shoal label`: label a whole bucket, or a large folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from runs.asking import seconds_of, service_seconds, worker_price
from runs.forecast import forecast
from runs.progress import RunProgress
from runs.records import ListingState
from runs.run import EXIF, S3, Run, shard_images, split_address
from runs.steering import Steering
from shoal import settings
from shoal.aws import connect_to_running
from shoal.errors import Permanent
from shoal.messages import new_batch
from shoal.ports import Cloud
from shoal.settings import Settings
from shoal_cli._batches._counted import counted
from shoal_cli._runs._asked import checked, in_words, known_of, list_here, source_of
from shoal_cli._runs._fetching import fetch
from shoal_cli._runs._folder import FolderSource
from shoal_cli._runs._following import follow, screen, summary
from shoal_cli._runs._lists import STANDARD_INPUT, is_list, listed_by
from shoal_cli._runs._sample import begin_sample, goes_on, others

INTERRUPTED = 130  # the status of a shell for a Ctrl-C
NOT_ALL = 2  # some photos failed
ASK_ABOVE = 1.0  # dollars


class Deadline(click.ParamType):  # type: ignore[type-arg]
    """A time from now, in seconds: 30m, 6h, 2d."""

    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises BadParameter."""
        try:
            return seconds_of(value)
        except Permanent as error:
            self.fail(str(error), param, ctx)


class Share(click.ParamType):  # type: ignore[type-arg]
    """A share in per cent: 5%."""

    name = "PERCENT"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises BadParameter."""
        try:
            share = value if isinstance(value, float) else float(value.removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is not a share like 5%", param, ctx)
        return share


class ExifData(click.ParamType):  # type: ignore[type-arg]
    """What of the EXIF data: some of runs.run.EXIF, with commas."""

    name = "DATA"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises BadParameter."""
        asked = {one.strip() for one in value.split(",")} if value else set()
        if not asked <= set(EXIF):
            self.fail(f"{value!r} is not {', '.join(EXIF)} or both with a comma", param, ctx)
        return ",".join(sorted(asked))


@click.command(short_help="Label a whole bucket, or a large folder.")
@click.argument("source")
@click.option("--into", required=True, help="Where the results go: s3://bucket/prefix, or a folder of this machine.")
@click.option("--model", default="", help="A model that the Shoal serves; its default when not given.")
@click.option("--top", default=5, show_default=True, help="Labels of each photo; 0 for all that the model tells.")
@click.option("--threshold", default=0.0, help="Leave out labels and detections of a lower probability.")
@click.option(
    "--where",
    default="",
    metavar="PATTERN",
    help="Only files of such a name, for example '*.jpg'; '*' takes all files of a folder, not only photos.",
)
@click.option("--bucket", default="", help="Where the photos of a list are whose keys have no address.")
@click.option("--limit", default=0, help="At most so many photos.")
@click.option("--sample", default=0, help="Label so many at random first, say what all will take by them, and ask.")
@click.option("--hash", "hashed", is_flag=True, help="Also a perceptual hash, for `shoal runs duplicates`.")
@click.option("--exif", type=ExifData(), default="", help="Also when and where it was taken: time, gps, or time,gps.")
@click.option("--deadline", type=Deadline(), default=None, help="When it should be done, from now: 30m, 6h, 2d.")
@click.option("--fail-above", type=Share(), default=0.5, help="Pause when a larger share of the photos fails.  [50%]")
@click.option("--not-if-done", is_flag=True, help="Only what is new, changed, failed, or labelled by another model.")
@click.option("--yes", is_flag=True, help="Do not ask, whatever it will cost.")
@click.option("--no-wait", is_flag=True, help="Begin, and do not look on.")
def command(
    source: str,
    into: str,
    model: str,
    top: int,
    threshold: float,
    where: str,
    bucket: str,
    limit: int,
    sample: int,
    hashed: bool,
    exif: str,
    deadline: float | None,
    fail_above: float,
    not_if_done: bool,
    yes: bool,
    no_wait: bool,
) -> None:
    """Label all photos in SOURCE: s3://bucket/prefix, a folder of this machine, or a list of photos in buckets.

    A list is a file of this machine, an object whose name ends in .txt, .jsonl, .manifest or .json, or - for standard
    input: a key or s3:// address a line, lines with "source-ref", or the manifest.json of an S3 Inventory.

    Says first what it will take and cost, then prints the run's id to standard output. The workers do it when nobody
    waits for a photo. Ctrl-C ends the looking on, not the run; `shoal runs` shows it.

    The results are lines of JSON, in parts: labels-<run>-*.jsonl, failed-<run>-*.jsonl, summary-<run>.json.
    `shoal export` makes Parquet, CSV and more of them.

    The exit status is 0 when every photo was labelled, 2 when some failed or the command was called wrongly, 1 when the
    command itself failed, 130 after a Ctrl-C.
    """
    chosen = settings.load_with_env_file()
    cloud = connect_to_running(chosen)
    service, now = service_seconds(chosen), time.time()
    from_bucket, to_bucket = source.startswith(S3), into.startswith(S3)
    listed = is_list(source)
    if listed and (not_if_done or sample):
        raise Permanent("--not-if-done and --sample need photos in the order of their keys: a bucket or a folder")
    if bucket and not listed:
        raise Permanent("--bucket says where the photos of a list are, and the source is none")
    folder = None if from_bucket or source == STANDARD_INPUT else Path(source).resolve()
    photos_in, prefix = split_address(source) if from_bucket else (chosen.in_bucket, "")
    run = Run(
        new_batch(now),
        source if folder is None else str(folder),
        photos_in,
        prefix,
        into if to_bucket else str(Path(into).resolve()),
        model,
        top,
        threshold,
        where,
        limit,
        shard_images(service),
        now + deadline if deadline else 0.0,
        fail_above,
        not_if_done,
        price_per_hour=worker_price(chosen),
        listed_here=folder is not None and not listed,
        hash=hashed,
        exif=exif,
    )
    checked(cloud, chosen, run)
    if listed:
        run = listed_by(cloud, chosen, run, source, bucket)
    photos = source_of(cloud, chosen, run)
    expected = forecast(run, photos, service, known_of(cloud, chosen, run))
    left_out = photos.left_out() if isinstance(photos, FolderSource) else ""
    if not expected.images and not expected.more:
        if not not_if_done:
            raise Permanent(f"there is nothing to label in {source}" + (f" ({left_out})" if left_out else ""))
        screen.print("Nothing is new or changed.")
        return
    screen.print(in_words(expected), markup=False)
    if left_out:
        screen.print(left_out, markup=False, soft_wrap=True)
    results = None if to_bucket else Path(into)
    if sample and (expected.more or expected.images > sample):
        run = _after_sample(cloud, chosen, run, sample, results, yes)
    elif expected.cost > ASK_ABOVE and not yes:
        if not sys.stdin.isatty():
            raise Permanent("it may cost more than a dollar: give --yes")
        click.confirm("Begin?", abort=True, err=True)
    Steering(cloud).start(run)
    click.echo(run.id)
    begin(cloud, chosen, run, results, no_wait)


def _after_sample(cloud: Cloud, chosen: Settings, run: Run, count: int, folder: Path | None, yes: bool) -> Run:
    """Label a sample; returns the run over the others. Ends the command when there are none or they are not wanted."""
    first, source = begin_sample(cloud, chosen, run, count)
    click.echo(first.id)
    told = look_on(cloud, chosen, first, folder)
    rest = others(cloud, run, source, told) if told.done and told.state == "done" else None
    if rest is None or not goes_on(yes):
        raise SystemExit(NOT_ALL if told.failed or told.state != "done" else 0)
    return rest


def begin(cloud: Cloud, chosen: Settings, run: Run, folder: Path | None, no_wait: bool = False) -> None:
    """List what this machine lists, look on, fetch the results, and end with the exit status."""
    if not no_wait:
        progress = look_on(cloud, chosen, run, folder)
        if progress.failed or progress.state != "done":
            raise SystemExit(NOT_ALL)
        return
    with _goes_on_if_interrupted(cloud, run, folder):
        for _ in list_here(cloud, chosen, run) if run.listed_here else ():
            pass
    screen.print(f"The run goes on: `shoal runs show {run.id}`.{_fetching(run, folder)}", markup=False, soft_wrap=True)


def look_on(cloud: Cloud, chosen: Settings, run: Run, folder: Path | None) -> RunProgress:
    """List what this machine lists, look on, fetch the results. Ends the command when the run pauses."""
    with _goes_on_if_interrupted(cloud, run, folder):
        listing = list_here(cloud, chosen, run) if run.listed_here else iter(())
        progress = follow(cloud, run, lambda: next(listing, None))
    screen.print(summary(progress), markup=False, soft_wrap=True)
    if progress.state == "paused":
        if "AccessDenied" in progress.why:
            read = f" --read {run.source}" if run.source.startswith(S3) else ""
            read += f" --read {S3}{run.bucket}/" if run.list_kind else ""
            write = f" --write {run.target}" if run.target.startswith(S3) else ""
            screen.print(f"The workers may not: `shoal prepare{read}{write}` allows it.", markup=False, soft_wrap=True)
        when = " once the Shoal serves the model (SHOAL_MODELS)" if "serve the model" in progress.why else ""
        screen.print(f"`shoal runs resume {run.id}` lets it go on{when}.", markup=False, soft_wrap=True)
        raise SystemExit(NOT_ALL)
    if folder:
        written = fetch(cloud, run, folder)
        screen.print(f"{counted(len(written), 'file')} written to {folder}", markup=False, soft_wrap=True)
    return progress


@contextmanager
def _goes_on_if_interrupted(cloud: Cloud, run: Run, folder: Path | None) -> Iterator[None]:
    """A Ctrl-C ends the command, not the run."""
    try:
        yield
    except KeyboardInterrupt:
        listed = "" if not run.listed_here else _unlisted(cloud, run)
        told = f"The run goes on: `shoal runs show {run.id}`.{_fetching(run, folder)}{listed}"
        screen.print(f"\n{told}", markup=False, soft_wrap=True)
        raise SystemExit(INTERRUPTED) from None


def _fetching(run: Run, folder: Path | None) -> str:
    return f" `shoal runs fetch {run.id} {folder}` brings the results once it is done." if folder else ""


def _unlisted(cloud: Cloud, run: Run) -> str:
    listed: ListingState | None = Steering(cloud).records.listed(run.id)
    return "" if listed else f" Not all photos were sent: `shoal runs resume {run.id}` here sends the others."
