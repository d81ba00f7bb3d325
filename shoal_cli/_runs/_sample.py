"""`shoal label --sample`: labels a random sample, says by its rates what the others will take, and asks."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import click

from runs.forecast import reckoned
from runs.progress import RunProgress
from runs.records import RunRecords
from runs.run import Run, shard_images
from runs.sampling import SampleSource
from runs.steering import Steering
from shoal.messages import new_batch
from shoal.ports import Cloud
from shoal.settings import Settings
from shoal_cli._batches._counted import counted
from shoal_cli._runs._asked import drawn_from, in_words, list_here, source_of
from shoal_cli._runs._following import screen


def begin_sample(cloud: Cloud, chosen: Settings, run: Run, count: int) -> tuple[Run, SampleSource]:
    """Begin a run over a sample of a run's photos; returns it, with all of it listed, and what it was drawn from."""
    sample = replace(run, sample=min(count, run.limit or count), listed_here=True, limit=0, deadline=0.0)
    screen.print(f"A random sample of {counted(sample.sample, 'photo')} comes first.")
    source = drawn_from(cloud, chosen, sample, source_of(cloud, chosen, sample))
    Steering(cloud).start(sample)
    for _ in list_here(cloud, chosen, sample, source):
        pass
    return sample, source


def others(cloud: Cloud, run: Run, source: SampleSource, told: RunProgress) -> Run | None:
    """Say what the photos that are not in the sample will take; returns the run over them, None when there are none.

    told: how the sample went.
    """
    images = source.images - told.done
    if run.limit:
        images = min(images, run.limit - told.done)
    if images <= 0:
        return None
    seconds, failed = told.seconds / told.done, told.failed / told.done
    rest = replace(
        run,
        id=new_batch(time.time()),
        besides=told.run.id,
        limit=max(0, run.limit - told.done),
        shard_images=shard_images(seconds),
    )
    size = images * source.size // source.images
    expected = reckoned(rest, images, size, source.more and not run.limit, seconds, source.images)
    results = images * _result_bytes(cloud, told) / told.done / 1e6
    lines = [
        f"Of the sample {told.failed} of {counted(told.done, 'photo')} failed ({failed:.1%}); "
        f"{seconds:.3f} s of a worker for each.",
        f"The others: {in_words(expected)}. At these rates about {images * failed:.0f} will fail, "
        f"and the results will take {results:.1f} MB.",
    ]
    if source.more:
        lines.append(
            f"The sample is drawn from the first {counted(source.images, 'photo')} alone: no more were looked at."
        )
    for line in lines:
        screen.print(line, markup=False, soft_wrap=True)
    return rest


def goes_on(yes: bool) -> bool:
    """Whether the others are to be labelled; says how it goes on later."""
    if yes or (sys.stdin.isatty() and click.confirm("Label them?", err=True)):
        return True
    screen.print("The same command with --not-if-done in place of --sample labels the others.", soft_wrap=True)
    return False


def _result_bytes(cloud: Cloud, told: RunProgress) -> int:
    records = RunRecords(cloud.outputs)
    return sum(len(records.results(told.run.id, shard) or b"") for shard in range(told.listed.shards))
