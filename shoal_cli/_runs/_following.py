"""Shows how far a run is, until it ends or the person stops looking."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from runs.progress import ProgressReader, RunProgress, busy_workers
from runs.records import RunRecords
from runs.run import Run
from shoal.errors import Retryable, ShoalError
from shoal.ports import Cloud
from shoal.prices import dollars
from shoal_cli._batches._counted import counted, duration
from shoal_cli._batches._progress_lines import ProgressLines

LOOK_SECONDS = 0.5
SLOW_LOOK_SECONDS = 2.0
ENDED = ("done", "cancelled", "paused")

screen = Console(stderr=True, highlight=False)


def follow(cloud: Cloud, run: Run, step: Callable[[], object] = lambda: None) -> RunProgress:
    """Show the bar until the run is done, paused or cancelled. Calls `step` between two looks."""
    reader = ProgressReader(RunRecords(cloud.outputs), run)
    began, lines = time.monotonic(), ProgressLines(screen)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    ) as bar:
        task = bar.add_task("labelling", total=None, told="")
        while True:
            step()
            try:
                progress = reader.look()
            except Retryable as error:
                bar.update(task, told=str(error))
                time.sleep(SLOW_LOOK_SECONDS)
                continue
            total = progress.listed.images if progress.listed.done else None
            words = _told(cloud, progress)
            bar.update(task, completed=progress.done, total=total, told=words)
            lines.tell(f"Labelling: {progress.done}{'' if total is None else f' of {total}'}, {words}")
            if progress.state in ENDED:
                return progress
            time.sleep(LOOK_SECONDS if time.monotonic() - began < 60 else SLOW_LOOK_SECONDS)


def _told(cloud: Cloud, progress: RunProgress) -> str:
    listed = "" if progress.listed.done else f"{progress.listed.images} listed so far"
    failed = f"{progress.failed} failed" if progress.failed else ""
    cost = dollars(progress.cost) if progress.cost else ""
    try:
        workers = counted(busy_workers(cloud.register), "worker")
    except ShoalError:
        workers = ""
    return ", ".join(filter(None, [_pace(progress), failed, workers, cost, listed]))


def _pace(progress: RunProgress) -> str:
    """Its speed, and the time left while it runs."""
    left = progress.seconds_left
    told = f"{progress.images_per_second:.1f}/s"
    return told if left is None else f"{told}, about {duration(left)} left"


def summary(progress: RunProgress) -> str:
    """A run in a sentence."""
    of = f" of {progress.listed.images}" if progress.listed.done else f", {progress.listed.images} listed so far"
    why = f" ({progress.why})" if progress.why else ""
    failed = f"{progress.failed} failed" if progress.failed else "none failed"
    cost = f", {dollars(progress.cost)}" if progress.cost else ""
    pace = f"{_pace(progress)}, " if progress.done else ""
    work = f"{pace}{progress.seconds:.0f} s of workers{cost}"
    return f"{progress.run.id}  {progress.state}{why}: {progress.done}{of} photos, {failed}; {work}"
