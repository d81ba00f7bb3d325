"""`shoal split plan`: measure device, link and tails, and say which way is worth it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from comparison.link import Link
from comparison.photos import as_they_are, prepare
from comparison.split_venue import IN_LAMBDA
from comparison.venue_api import VenueApi
from inference.preparing.sources import Say
from inference.split.planning import GOALS, NO_LIMIT, TIME, LinkSpeed, WayChosen, choose
from inference.split.point import parts_of
from shoal import settings
from shoal.errors import NotFound, ShoalError
from shoal.settings import Settings
from shoal_cli._accounts._chosen_key import chosen_key
from shoal_cli._batches._address import MADE, url_option
from shoal_cli._batches._chosen_photos import chosen_photos
from shoal_cli._splitting._by_function import tail_calls
from shoal_cli._splitting._device import Device, of_tails
from shoal_cli._splitting._planning import (
    FunctionEnd,
    Road,
    function_roads,
    measured_link,
    measured_roads,
    went,
)
from shoal_cli._splitting._speed import PHOTOS, WHOLE, device_speed, labelling
from shoal_cli.models import example_photos, steps

BEST = "best"  # instead of the name of a cut
WITHIN = 0.25  # a prediction is right if it is no further from what was measured


class LinkOption(click.ParamType[Link]):
    """MBIT/DELAY_MS."""

    name = "link"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Link:
        """The emulated link."""
        mbit, _, delay = str(value).partition("/")
        try:
            link = Link(float(mbit), float(delay))
        except ValueError:
            self.fail(f"{value} is not MBIT/DELAY_MS, such as 20/15", param, ctx)
        if not (0 <= link.mbit < float("inf") and 0 <= link.delay_ms < float("inf")):
            self.fail(f"{value} is below zero, or endless", param, ctx)
        return link


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="", help="The model; the default one when not given.")
@click.option("--goal", type=click.Choice(GOALS), default=TIME, show_default=True, help="What is to be least.")
@click.option(
    "--never-send-photo", is_flag=True, help="Only ways on which neither the photo nor a smaller one is sent."
)
@click.option("--link", "links", multiple=True, type=LinkOption(), metavar="MBIT/DELAY_MS",
              help="Emulate a link by waiting; once for each.")  # fmt: skip
@click.option("--measure", is_flag=True, help="Go every way, too, and compare with what was predicted.")
@click.option("--again", is_flag=True, help="Measure this device anew.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@url_option(MADE)
def plan(
    paths: tuple[Path, ...], model: str, goal: str, never_send_photo: bool, links: tuple[Link, ...], measure: bool,
    again: bool, as_json: bool, url: str | None,
) -> None:  # fmt: skip
    """Say which way is worth it for the photos in PATHS, or the examples: a cut, all local, or the photo itself.

    Measures this device (kept for a week), the link to the running Shoal, and what happens there. The cuts are those
    whose heads are prepared here and whose tails workers or the Lambda function run.
    """
    chosen = settings.load_with_env_file()
    model = model or chosen.model
    found, _ = chosen_photos(paths) if paths else (example_photos(), "")
    address = (url or f"http://{chosen.host}:{chosen.port}").rstrip("/")
    with tempfile.TemporaryDirectory(prefix="shoal-plan-") as folder, steps() as say:
        photos, _ = prepare(as_they_are(found[:PHOTOS]), Path(folder))
        names = photos.names()
        direct = VenueApi(address, Link(), key=chosen_key(), model=model)
        devices, function = of_model(chosen, model, direct), function_end(chosen, model)
        heads = devices | (dict(function.devices) if function else {})
        speed = device_speed(chosen, model, heads, [photos.file(name) for name in names], say, again)
        roads = measured_roads(chosen, direct, devices, speed, photos, say, function)
        local = labelling(chosen, model) if measure and WHOLE in speed.seconds else None
        rows, plans = list[dict[str, object]](), list[WayChosen]()
        for link in links or (Link(),):
            api = VenueApi(address, link, key=chosen_key(), model=model)
            seen = measured_link(api)
            plans.append(choose([road.way for road in roads], seen, goal, never_send_photo))
            for road in _ordered(roads, plans[-1]):
                row = _row(road, link, seen)
                if measure:
                    say(f"going the way {road.way.name} over {link}")
                    row["measured"] = went(road, api, photos, local)
                rows.append(row)
    if as_json:
        told = [{"chosen": one.chosen.name, "sentence": one.sentence} for one in plans]
        click.echo(json.dumps({"device": asdict(speed), "ways": rows, "plans": told}))
        return
    _print(rows)
    for one in plans:
        click.echo(one.sentence[0].upper() + one.sentence[1:])


def function_end(chosen: Settings, model: str) -> FunctionEnd | None:
    """The Lambda function with the tails of a model whose heads are prepared here; None where there is none."""
    try:
        calls, tails, memory = tail_calls(chosen)
    except ShoalError:
        return None  # not made, or no cloud, or none of these credentials' business
    devices = of_tails(chosen, [tail for tail in tails if (parts_of(tail) or ("",))[0] == model])
    return FunctionEnd(calls, devices, memory) if devices else None


def of_model(chosen: Settings, model: str, api: VenueApi) -> dict[str, Device]:
    """The heads of a model that are prepared here and whose tails are served there."""
    return of_tails(chosen, [tail for tail in api.tails() if (parts_of(tail) or ("",))[0] == model])


def best_cut(chosen: Settings, model: str, photos: Sequence[Path], address: str, say: Say) -> str:
    """The cut that is fastest for these photos. Raises NotFound if no head is prepared here whose tail is served."""
    api = VenueApi(address.rstrip("/"), Link(), key=chosen_key(), model=model)
    devices = of_model(chosen, model, api)
    if not devices:
        raise NotFound(f"no tail of {model} is served at {address} whose head is prepared here: `shoal split prepare`")
    if len(devices) == 1:
        return next(iter(devices.values())).point.cut
    with tempfile.TemporaryDirectory(prefix="shoal-plan-") as folder:
        prepared, _ = prepare(as_they_are(photos[:PHOTOS]), Path(folder))
        names = prepared.names()
        speed = device_speed(chosen, model, devices, [prepared.file(name) for name in names], say)
        roads = measured_roads(chosen, api, devices, speed, prepared, say)
        cuts = [road.way for road in roads if road.way.sent_bytes and not road.way.sends_photo]
        found = choose(cuts, measured_link(api), never_send_photo=True)
    say(found.sentence)
    return found.chosen.name


def best_of_function(chosen: Settings, model: str, photos: Sequence[Path], say: Say) -> str:
    """The cut that is fastest for these photos with its tail in Lambda. Raises NotFound if the function runs none."""
    function = function_end(chosen, model)
    if function is None:
        raise NotFound(f"the function runs no tail of {model} whose head is prepared here: `shoal split prepare`")
    with tempfile.TemporaryDirectory(prefix="shoal-plan-") as folder:
        prepared, _ = prepare(as_they_are(photos[:PHOTOS]), Path(folder))
        names = prepared.names()
        speed = device_speed(chosen, model, function.devices, [prepared.file(name) for name in names], say)
        line = LinkSpeed(NO_LIMIT, 0.0)  # the line to Lambda is in the wait, which its own calls show
        roads = function_roads(chosen, function, speed, prepared, line, say)
        found = choose([road.way for road in roads], line, never_send_photo=True)
    say(found.sentence)
    return found.chosen.name.removesuffix(IN_LAMBDA)


def _ordered(roads: Sequence[Road], found: WayChosen) -> list[Road]:
    return sorted(roads, key=lambda road: found.ways.index(road.way))


def _row(road: Road, link: Link, seen: LinkSpeed) -> dict[str, object]:
    way = road.way
    return {
        "link": str(link) if link else "as it is",
        "seen": str(seen),
        "way": way.name,
        "device": way.device_seconds,
        "bytes": way.sent_bytes,
        "transfer": seen.seconds(way.sent_bytes) if way.sent_bytes else 0.0,
        "waiting": way.waiting,
        "tail": way.tail_seconds,
        "predicted": way.total(seen),
        "dollars": way.dollars,
        "first_call": road.cold,
        "loading": road.loading,
    }


def _print(rows: Sequence[dict[str, object]]) -> None:
    columns = ["link", "way", "device", "KB", "transfer", "wait", "tail", "predicted, ms", "$ for 1,000", "first call"]
    measured = "measured" in rows[0]
    table = Table(*columns, *(("measured, ms", "off by") if measured else ()), box=None)
    for row in rows:
        table.add_row(*_cells(row), *(_checked(row) if measured else ()))
    Console(highlight=False, width=180).print(table)
    if measured:
        right = sum(abs(_off(row)) <= WITHIN for row in rows)
        click.echo(f"{right} of {len(rows)} predictions are within {WITHIN:.0%} of what was measured.")


def _cells(row: dict[str, object]) -> list[str]:
    numbers = {name: float(value) for name, value in row.items() if isinstance(value, int | float)}
    seconds = [f"{1000 * numbers[part]:.0f}" for part in ("device", "transfer", "waiting", "tail", "predicted")]
    size = f"{numbers['bytes'] / 1e3:.1f}" if numbers["bytes"] else "-"
    dollars = f"{numbers['dollars']:.4f}" if "dollars" in numbers else "-"
    cold = f"{numbers['first_call']:.2f} s" if numbers["first_call"] else "-"
    cold += f", loading {numbers['loading']:.2f}" if numbers["loading"] else ""
    return [str(row["link"]), str(row["way"]), seconds[0], size, *seconds[1:], dollars, cold]


def _checked(row: dict[str, object]) -> list[str]:
    return [f"{1000 * float(str(row['measured'])):.0f}", f"{_off(row):+.0%}"]


def _off(row: dict[str, object]) -> float:
    return float(str(row["predicted"])) / float(str(row["measured"])) - 1
