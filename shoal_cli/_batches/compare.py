"""`shoal compare`: which venue is worth it, for these photos."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from comparison import plots, report, running
from comparison.answer import answer
from comparison.costs import AlwaysOn, MonthlyCost, Pool, per_thousand
from comparison.figures import LaneFigures, TimeSpread, rows
from comparison.link import Link
from comparison.measurement import AS_IT_IS, RESIZED, Lane, Size
from comparison.photos import SETS, ComparedPhoto, PreparedPhotos, as_they_are, made_from
from comparison.price_list import noted, pool_calls
from comparison.running import MeasuredRun
from comparison.schedule import Stint, stints
from comparison.venue_api import VenueApi
from inference.photo_folders import readable
from shoal import settings
from shoal.errors import Permanent
from shoal.prices import listed, price_per_hour
from shoal.settings import Settings
from shoal_cli._batches._chosen_photos import chosen_photos

VENUES = ("local", "pool")
WARM_UP = 4
WEB_MACHINE = "t3.small"  # runs the web tier and the controller of a pool
WAVES_A_DAY = 10.0
REFERENCE = "pool"  # labels are compared with those of this venue, photos as they are
INTERRUPTED = 130

screen = Console(stderr=True, highlight=False)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--venue", "venues", multiple=True, help="A venue to measure; once for each. All by default.")
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
@click.option("--url", help="The address of Shoal; made from SHOAL_HOST and SHOAL_PORT when not given.")
def command(
    paths: tuple[Path, ...], venues: tuple[str, ...], size_of_set: str | None, rounds: int, concurrency: int,
    mbit: float, delay_ms: float, images_a_day: int, as_json: bool, csv_file: Path | None, png_file: Path | None,
    url: str | None,
) -> None:  # fmt: skip
    """Measure which venue is worth it for the photos in PATHS: files, and folders with their subfolders.

    Sends each photo through every venue, as it is and resized, in several rounds, to a running Shoal. Prints a table of
    times, speed, agreement and cost, and the answer. Ctrl-C ends it and keeps what was measured.
    """
    chosen = settings.load()
    files, left_out = chosen_photos(paths)
    photos = made_from(files, SETS[size_of_set]) if size_of_set else as_they_are(files)
    lanes = [Lane(venue, size) for venue in venues or VENUES for size in (AS_IT_IS, RESIZED)]
    link = Link(mbit, delay_ms)
    door = VenueApi((url or f"http://{chosen.host}:{chosen.port}").rstrip("/"), link)
    with tempfile.TemporaryDirectory(prefix="shoal-compare-") as folder:
        prepared, unread = _prepare(photos, Path(folder))
        measured = running.run(
            stints(lanes, prepared.names(), rounds, WARM_UP), door, prepared.lane_content, concurrency, _tell
        )
    found = rows(measured.measurements, measured.busy_seconds, Lane(REFERENCE, AS_IT_IS))
    costs = _costs(chosen, found)
    told = answer(found, costs, images_a_day)
    if as_json:
        click.echo(json.dumps(report.as_json(found, costs, images_a_day, told)))
    else:
        _print(found, costs, images_a_day, link)
        click.echo(str(told))
    if csv_file:
        _write_csv(csv_file, found)
    if png_file:
        plots.draw(found, costs, png_file)
    for sentence in filter(None, [left_out, unread]):
        screen.print(sentence, markup=False, soft_wrap=True)
    if measured.interrupted:
        raise SystemExit(INTERRUPTED)


def _prepare(photos: Sequence[ComparedPhoto], folder: Path) -> tuple[PreparedPhotos, str]:
    """Make the photos in both sizes; and in words, which files are left out. Raises Permanent when none is left."""
    prepared, unread = PreparedPhotos(folder), list[str]()
    sizes: tuple[Size, ...] = (AS_IT_IS, RESIZED)
    for photo in photos:
        try:
            prepared.add(photo, sizes)
        except OSError:
            unread.append(readable(photo.path.name))
    if not prepared.names():
        raise Permanent("none of these files is a photo that can be resized, so there is nothing to compare")
    return prepared, f"Left out, for they cannot be resized: {', '.join(unread)}" if unread else ""


def _tell(measured: MeasuredRun, stint: Stint) -> None:
    failed = next((one.error for one in reversed(measured.measurements) if one.error and one.lane == stint.lane), "")
    if stint.phase == "measured" or failed:
        what = f"round {stint.round}" if stint.phase == "measured" else "first call"
        screen.print(f"{stint.lane}: {what} {f'failed: {failed}' if failed else 'done'}", markup=False, soft_wrap=True)


def _costs(chosen: Settings, found: Sequence[LaneFigures]) -> dict[str, MonthlyCost]:
    """The cost of each venue that was measured, from the speed of its photos as they are."""
    speeds = {row.lane.venue: row.capacity for row in found if row.seconds and row.lane.size == AS_IT_IS}
    worker = price_per_hour(chosen)
    if worker is None:
        return {}
    costs: dict[str, MonthlyCost] = {}
    for venue, speed in speeds.items():
        if venue == "pool":
            kept = listed()[WEB_MACHINE].per_hour + chosen.min_instances * worker
            costs[venue] = Pool(
                kept, worker, speed, chosen.quiet_seconds + chosen.expected_boot_seconds, WAVES_A_DAY, pool_calls()
            )
        elif venue == "local":
            costs[venue] = AlwaysOn(worker, speed)
    return costs


def _print(found: Sequence[LaneFigures], costs: dict[str, MonthlyCost], volume: int, link: Link) -> None:
    table = Table("venue", "part", "mean", "SD", "min", "max", "p50", "p95", title="milliseconds an image")
    summary = Table("venue", "images/s", "first call", "bytes sent", "same label", "1,000 images", "a month", "failed")
    for row in found:
        for at, (part, spread) in enumerate(row.seconds.items()):
            table.add_row(str(row.lane) if at == 0 else "", part, *_milliseconds(spread))
        cost = costs.get(row.lane.venue)
        summary.add_row(
            str(row.lane),
            f"{row.images_per_second:.1f}" if row.seconds else "-",
            f"{row.cold:.2f} s" if row.cold is not None else "-",
            f"{row.sent_bytes:,.0f}" if row.seconds else "-",
            f"{100 * row.agreement:.0f} %" if row.agreement is not None else "-",
            f"${per_thousand(cost, volume):.4f}" if cost else "-",
            f"${cost.month(volume):.2f}" if cost else "-",
            f"{row.failed}: {row.why}" if row.failed else "0",
        )
    out = Console(highlight=False)
    out.print(table, summary)
    out.print(f"Costs at {volume:,} images a day are modelled with prices noted in {noted()}; the rest is measured.")
    if link:
        out.print(f"The link is emulated: {link}.", markup=False)


def _milliseconds(spread: TimeSpread) -> list[str]:
    values = (spread.mean, spread.sd, spread.least, spread.most, spread.p50, spread.p95)
    return [f"{1000 * value:.1f}" for value in values]


def _write_csv(file: Path, found: Sequence[LaneFigures]) -> None:
    lines: list[dict[str, Any]] = list(report.csv_rows(found))
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, report.COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
