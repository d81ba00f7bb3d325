"""`shoal compare`: which venue is worth it, for these photos."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from comparison import lambda_venue, plots, running, tables
from comparison.in_browser import venue as browser_venue
from comparison.in_browser.venue import BrowserVenue
from comparison.lambda_venue import LambdaVenue
from comparison.link import Link
from comparison.outcome import Outcome
from comparison.photos import SETS, as_they_are, made_from, prepare
from comparison.running import ClosedDoor, Door, Doors, MeasuredRun
from comparison.schedule import Stint, both_sizes, only_whole, stints
from comparison.split_venue import IN_LAMBDA, CutDoor
from comparison.tables import WordTable
from comparison.venue_api import VenueApi
from inference import store
from inference.photo_folders import readable
from shoal import aws, settings
from shoal.deployment.service_prices import noted
from shoal.errors import ShoalError
from shoal.settings import Settings
from shoal.state_folder.page_address import page_address
from shoal_cli._accounts._chosen_key import chosen_key
from shoal_cli._batches._address import MADE, url_option
from shoal_cli._batches._chosen_photos import chosen_photos
from shoal_cli._splitting._device import SPLIT, never_sent_before, of_tails
from shoal_cli._splitting._plan import function_end
from shoal_cli._splitting._tail_calls import TailDoor

POOL = "pool"
VENUES = ("local", POOL)
ON_DEVICE = (SPLIT, browser_venue.NAME)  # no photo is sent there
INTERRUPTED = 130

screen = Console(stderr=True, highlight=False)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Measure which venue is worth it for some photos.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--venue", "venues", multiple=True, help="A venue to measure; once for each. All that are there by default."
)
@click.option(
    "--set", "size_of_set", type=click.Choice(list(SETS)), help="Make 296, 2,070 or 4,913 images from the photos."
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often each photo is sent.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=1, show_default=True, help="Calls at once.")
@click.option("--mbit", type=click.FloatRange(0), default=0.0, help="Emulate a link of so many megabits a second.")
@click.option("--delay-ms", type=click.FloatRange(0), default=0.0, help="Emulate a delay in each direction.")
@click.option("--images-a-day", type=click.IntRange(1), default=1000, show_default=True, help="The volume to price.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@click.option("--csv", "csv_file", type=_FILE, metavar="FILE", help="Write a line for each lane there.")
@click.option("--png", "png_file", type=_FILE, metavar="FILE", help="Draw both plots there.")
@url_option(MADE)
def command(
    paths: tuple[Path, ...], venues: tuple[str, ...], size_of_set: str | None, rounds: int, concurrency: int,
    mbit: float, delay_ms: float, images_a_day: int, as_json: bool, csv_file: Path | None, png_file: Path | None,
    url: str | None,
) -> None:  # fmt: skip
    """Measure which venue is worth it for the photos in PATHS: files, and folders with their subfolders.

    Sends each photo through every venue, as it is and resized, in several rounds, to a running Shoal; through the venue
    split as an activation, for each cut that is prepared here and served; and labels it in a headless Chromium, without
    sending it, where the Shoal has the network for browsers. Prints a table of times, speed, agreement and cost, and
    the answer. Ctrl-C ends it and keeps what was measured.
    """
    chosen = settings.load_with_env_file()
    files, left_out = chosen_photos(paths)
    photos = made_from(files, SETS[size_of_set]) if size_of_set else as_they_are(files)
    link = Link(mbit, delay_ms)
    api = VenueApi((url or page_address(chosen)).rstrip("/"), link, key=chosen_key())
    asked = venues or _available(chosen, api.venues(), api.browser_bytes() > 0)
    with (
        tempfile.TemporaryDirectory(prefix="shoal-compare-") as folder,
        _function(chosen, asked, link) as own,
        BrowserVenue(api, chosen.chromium) as browser,
    ):
        prepared, unread = prepare(photos, Path(folder))
        here: dict[str, Door] = _cuts(chosen, api) if SPLIT in asked else {}
        if browser_venue.NAME in asked:
            here[browser_venue.NAME] = browser
        lanes = [*both_sizes(name for name in asked if name not in ON_DEVICE), *only_whole(here)]
        plan = stints(lanes, prepared.names(), rounds)
        measured = running.run(plan, Doors({**own, **here}, api), prepared.lane_content, concurrency, _tell)
    peaks = api.peak_bytes() | {browser_venue.NAME: browser.peak_bytes}
    found = Outcome.of(measured, chosen, images_a_day, peaks)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        _print(found, link)
    if csv_file:
        csv_file.write_text(found.to_csv(), newline="")
    if png_file:
        plots.draw(found.rows, found.costs, png_file)
    for sentence in filter(None, [left_out, _tell_unread(unread)]):
        screen.print(sentence, markup=False, soft_wrap=True)
    if found.interrupted:
        raise SystemExit(INTERRUPTED)


def _available(chosen: Settings, offered: Collection[str], browser: bool) -> tuple[str, ...]:
    """The venues that are asked when none is named: the function only where it is prepared.

    offered: what the server lets a request name; empty where it does not tell. browser: whether it has the network for
    browsers.
    """
    gone = bool(offered) and POOL not in offered  # `shoal serve` has none
    if gone:
        screen.print(f"The pool is not measured: this Shoal offers {', '.join(offered)} alone.", markup=False)
    usual = tuple(name for name in VENUES if not (gone and name == POOL))
    if SPLIT in offered and store.heads(chosen.model, chosen.engine, chosen.cache_dir):
        usual = (*usual, SPLIT)
    if browser:
        usual = (*usual, browser_venue.NAME)
    with suppress(ShoalError):
        if aws.function_exists(chosen):
            return (*usual, lambda_venue.NAME)
    return usual


def _cuts(chosen: Settings, api: VenueApi) -> dict[str, Door]:
    """A door for each cut of the default model whose tail is served and whose head is prepared here, by its lane."""
    found = of_tails(chosen, [tail for tail in api.tails() if tail.startswith(f"{chosen.model}.")])
    function = function_end(chosen, chosen.model)
    in_lambda: dict[str, Door] = {}
    if function:
        for tail, one in function.devices.items():
            in_lambda[f"{SPLIT} {tail}{IN_LAMBDA}"] = TailDoor(function.calls, never_sent_before(one), api.link)
    if not (found or in_lambda):
        return {
            SPLIT: ClosedDoor(
                f"no tail of {chosen.model} is served whose head is prepared here: `shoal split prepare` makes both"
            )
        }
    by_workers = {f"{SPLIT} {tail}": CutDoor(api, tail, never_sent_before(one)) for tail, one in found.items()}
    return {**by_workers, **in_lambda}


@contextmanager
def _function(chosen: Settings, asked: Sequence[str], link: Link) -> Iterator[dict[str, Door]]:
    """The door of the Lambda function, by its name, if it is asked. What it has stored is deleted at the end."""
    if lambda_venue.NAME not in asked:
        yield {}
        return
    try:
        cloud, tables = aws.connect_to_running(chosen), aws.label_tables(chosen)
        there, why = aws.function_exists(chosen), "it is not there: `shoal prepare --venue lambda` makes it"
    except ShoalError as error:
        there, why = False, str(error)
    if not there:
        yield {lambda_venue.NAME: ClosedDoor(why)}
        return
    door = LambdaVenue(cloud.inputs, cloud.outputs, chosen.lambda_prefix, link)
    try:
        yield {lambda_venue.NAME: door}
    finally:
        try:
            door.clean(lambda key: tables.forget(f"s3://{chosen.in_bucket}/{key}"))
        except ShoalError as error:
            screen.print(f"What was stored under {door.prefix} is still there: {error}", markup=False, soft_wrap=True)


def _tell_unread(names: list[str]) -> str:
    return f"Left out, for they cannot be resized: {', '.join(map(readable, names))}" if names else ""


def _tell(measured: MeasuredRun, stint: Stint) -> None:
    failed = next((one.error for one in reversed(measured.measurements) if one.error and one.lane == stint.lane), "")
    if stint.phase == "measured" or failed:
        what = f"round {stint.round}" if stint.phase == "measured" else "first call"
        screen.print(f"{stint.lane}: {what} {f'failed: {failed}' if failed else 'done'}", markup=False, soft_wrap=True)


def _print(found: Outcome, link: Link) -> None:
    # In a pipe no column is cut: a program may read it.
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 400)
    out.print(_drawn(tables.times(found.rows)), _drawn(tables.summary(found.rows, found.costs, found.volume)))
    out.print(f"Costs are modelled with prices noted in {noted()}; the rest is measured.")
    for note in found.notes:
        out.print(note, markup=False)
    if link:
        out.print(f"The link is emulated: {link}.", markup=False)
    click.echo(str(found.answer))


def _drawn(words: WordTable) -> Table:
    drawn = Table(title=words.title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in words.head:
        drawn.add_column(name, overflow="fold")
    for row in words.rows:
        drawn.add_row(*map(Text, row))
    return drawn
