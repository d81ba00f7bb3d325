"""`shoal runs`: look at bulk runs, pause, resume and cancel them, and label again what failed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from runs.progress import ProgressReader
from runs.records import RunRecords
from runs.run import Run, again
from runs.steering import Steering, check_failed
from shoal import settings
from shoal.aws import connect_to_running
from shoal.errors import NotFound, Permanent
from shoal.messages import is_batch, new_batch
from shoal.ports import Cloud
from shoal_cli._batches._counted import counted
from shoal_cli._runs._asked import list_here
from shoal_cli._runs._duplicates import duplicates
from shoal_cli._runs._fetching import fetch, is_fetched, target_folder
from shoal_cli._runs._following import summary
from shoal_cli._runs.label import begin

DAY_SECONDS = 86400.0


@click.group(invoke_without_command=True, short_help="Look at bulk runs and steer them.")
@click.option("--days", default=30, show_default=True, help="Those of so many days.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each run.")
@click.pass_context
def command(ctx: click.Context, days: int, as_json: bool) -> None:
    """List the bulk runs that `shoal label` began, and steer them."""
    if ctx.invoked_subcommand is not None:
        return
    cloud = _cloud()
    records = RunRecords(cloud.outputs)
    for name in records.ids(time.time() - days * DAY_SECONDS):
        _tell(cloud, records.run(name), as_json)


@command.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="As a line of JSON.")
def show(run: str, as_json: bool) -> None:
    """Say how far a run is."""
    cloud = _cloud()
    _tell(cloud, _run(cloud, run), as_json)


@command.command()
@click.argument("run")
def pause(run: str) -> None:
    """Let a run rest. Shards in work are dropped within seconds, and done again later."""
    cloud = _cloud()
    Steering(cloud).pause(_run(cloud, run).id)
    click.echo(f"paused; `shoal runs resume {run}` lets it go on")


@command.command()
@click.argument("run")
def resume(run: str) -> None:
    """Let a run go on: after a pause, or when its messages were lost."""
    cloud = _cloud()
    found = _run(cloud, run)
    missing = Steering(cloud).resume(found.id)
    if found.listed_here and not RunRecords(cloud.outputs).listed(run):
        for _ in list_here(cloud, settings.load_with_env_file(), found):
            pass
    click.echo(f"{counted(missing, 'shard')} sent again")


@command.command()
@click.argument("run")
def cancel(run: str) -> None:
    """End a run with what is labelled until now."""
    cloud = _cloud()
    Steering(cloud).cancel(_run(cloud, run).id)
    click.echo("cancelled; what is labelled stands in its results")


@command.command("retry-failed")
@click.argument("run")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="Also bring the results to this folder.")
@click.option("--no-wait", is_flag=True, help="Begin, and do not look on.")
def retry_failed(run: str, into: Path | None, no_wait: bool) -> None:
    """Label the photos that failed once more, as a run of its own with the same target."""
    cloud = _cloud()
    found = _run(cloud, run)
    check_failed(RunRecords(cloud.outputs), found.id)
    fresh = again(found, new_batch(time.time()))
    Steering(cloud).start(fresh)
    click.echo(fresh.id)
    begin(cloud, settings.load_with_env_file(), fresh, into, no_wait)


@command.command("fetch")
@click.argument("run")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
def fetch_(run: str, folder: Path | None) -> None:
    """Bring the results of a finished run to FOLDER; to the one that `label --into` named when it is not given."""
    cloud = _cloud()
    found = _run(cloud, run)
    if (chosen := folder or target_folder(found)) is None:
        raise Permanent(f"the results of run {run} go to {found.target}: name a FOLDER to have them here, too")
    for path in fetch(cloud, found, chosen):
        click.echo(path)


command.add_command(duplicates)


def _cloud() -> Cloud:
    return connect_to_running(settings.load_with_env_file())


def _run(cloud: Cloud, run: str) -> Run:
    if is_batch(run):
        try:
            return RunRecords(cloud.outputs).run(run)
        except NotFound:
            pass
    raise NotFound(f"there is no run {run!r}: `shoal runs` lists them")


def _tell(cloud: Cloud, run: Run, as_json: bool) -> None:
    progress = ProgressReader(RunRecords(cloud.outputs), run).look()
    if as_json:
        click.echo(json.dumps(progress.to_dict(), ensure_ascii=False))
        return
    click.echo(f"{summary(progress)}\n    {run.source} -> {run.target}")
    if progress.state == "done" and target_folder(run) and not is_fetched(run):
        click.echo(f"    not in that folder yet: `shoal runs fetch {run.id}` brings the results")
