"""From the options of `shoal label` to a run: where its photos are, and what it will take and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from runs.already import Already
from runs.asking import check_bucket
from runs.forecast import Forecast
from runs.listing import Step
from runs.lists.source import ListSource
from runs.manifest import BulkPhoto
from runs.records import ListingState, RunRecords
from runs.run import FAILED_OF, S3, Run
from runs.sampling import SampleSource
from runs.sources import BucketSource, FailedSource, PhotoSource, is_photo_of
from runs.steering import Steering, failed_entries
from shoal.errors import Permanent
from shoal.ports import Cloud
from shoal.prices import dollars
from shoal.settings import Settings
from shoal_cli._batches._counted import counted, duration
from shoal_cli._runs._folder import FolderSource
from shoal_cli._runs._models import answering, check_model, served


def in_words(expected: Forecast) -> str:
    """A forecast in a sentence."""
    least = "more than " if expected.more else ""
    work = f"about {duration(expected.seconds)} of one worker"
    price = f", {least}{dollars(expected.cost)}" if expected.cost else ""
    return f"{least}{counted(expected.images, 'photo')}, {expected.size / 1e6:.1f} MB: {least}{work}{price}"


def source_of(cloud: Cloud, chosen: Settings, run: Run) -> PhotoSource:
    """The stream of its photos. Raises Permanent when it cannot be read from here."""
    if run.list_kind:
        return ListSource(run, cloud.buckets)
    if run.source.startswith(S3):
        return BucketSource(cloud.buckets[run.bucket], run.prefix)
    if run.source.startswith(FAILED_OF):
        failed = run.source.removeprefix(FAILED_OF)
        return FailedSource(lambda: failed_entries(RunRecords(cloud.outputs), failed))
    folder = Path(run.source)
    if not folder.is_dir():
        raise Permanent(f"there is no folder and no list {folder} on this machine")
    return FolderSource(folder, run.id, cloud.inputs, chosen.in_bucket, all_files=bool(run.where))


def drawn_from(cloud: Cloud, chosen: Settings, run: Run, source: PhotoSource) -> SampleSource:
    """The sample of a run's source. Of the same photos it is the same."""
    fits, known = is_photo_of(run), known_of(cloud, chosen, run)
    seed = f"{run.source} {run.where} {run.sample}"
    return SampleSource(source, run.sample, lambda one: fits(one) and not (known and known(one)), seed)


def list_here(cloud: Cloud, chosen: Settings, run: Run, source: PhotoSource | None = None) -> Iterator[ListingState]:
    """List the photos of a run that a client lists; yields how far it is. source: of a sample that is drawn already."""
    whole = source_of(cloud, chosen, run)
    store = whole.store if isinstance(whole, FolderSource) else None
    source = source or (drawn_from(cloud, chosen, run, whole) if run.sample else whole)
    steering = Steering(cloud)
    known = known_of(cloud, chosen, run)
    yield from steering.list_here(run, Step(steering.records, cloud.bulk, run, source, known, store))


def checked(cloud: Cloud, chosen: Settings, run: Run) -> None:
    """Raises Permanent, in words, when the model, the source or the target cannot be used."""
    check_model(run.model, served(cloud, chosen))
    for address in (run.source, run.target):
        check_bucket(cloud, address)


def known_of(cloud: Cloud, chosen: Settings, run: Run) -> Callable[[BulkPhoto], bool] | None:
    """Whether a photo need not be labelled again; None when all are labelled."""
    return Already(RunRecords(cloud.outputs), run, answering(cloud, chosen, run)).knows if run.leaves_out else None
