"""`shoal split`: list the cuts of a model, and prepare head and tail of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from inference import store
from inference.photo_folders import list_files
from inference.preparing.browser import head as for_browsers
from inference.preparing.cutting import request
from inference.split.point import tail_name
from shoal import settings
from shoal.errors import Permanent
from shoal_cli._splitting._plan import plan
from shoal_cli.models import photos_at_hand, steps

COLUMNS = (
    *("cut behind", "layers", "million multiply-adds", "KB float32", "uint8", "+ zstd", "+ gzip", "4 bits + zstd"),
    *("same label", "4 bits", ""),
)


@click.group(short_help="Cut a model in two: the device runs the head, a worker the tail.")
def command() -> None:
    """Cut a model in two: the device runs the head, only the activation travels, a worker runs the tail.

    `shoal classify --venue split` uses it. An activation is not private: photos can be rebuilt from many of them, as
    the page /privacy of a running Shoal shows.
    """


@command.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="A JSON list with all figures, sizes in bytes.")
@click.option("--photos", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Measure on the photos of this folder instead.")  # fmt: skip
@click.option("--again", is_flag=True, help="Measure again.")
def cuts(model: str, as_json: bool, folder: Path | None, again: bool) -> None:
    """List every legal cut of MODEL: work on both sides, what travels, and how often packing changes the best label.

    Measuring takes a few minutes; the figures are kept in the cache.
    """
    chosen = settings.load()
    _check_weights(chosen, model)
    used = list_files(folder).files if folder else photos_at_hand(chosen.cache_dir)
    with steps() as say:
        found = request.measured_cuts(model, chosen.cache_dir, used, say, again)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table(*COLUMNS, box=None)
    prepared = store.heads(model, chosen.engine, chosen.cache_dir)
    for row in found:
        table.add_row(*_cells(row), "prepared" if row["name"] in prepared else "")
    Console(highlight=False, width=160).print(table)
    if found:
        rows = found[0]["pictures"]
        click.echo(
            f"Layers and multiply-adds: head + tail. Same label: as the whole net, of {rows} pictures, in uint8 and "
            "in 4 bits."
        )


@command.command()
@click.argument("model")
@click.argument("cut")
@click.option("--browser", is_flag=True, help="Make the head for browsers, too: the page On this device offers it.")
@click.option("--again", is_flag=True, help="Make both parts again.")
def prepare(model: str, cut: str, browser: bool, again: bool) -> None:
    """Make head and tail of MODEL cut behind the layer CUT, and compare them with the whole model.

    SHOAL_TAILS=MODEL.CUT has workers serve the tail. The device needs the same cache, or prepares the same cut.
    """
    chosen = settings.load()
    _check_weights(chosen, model)
    photos = photos_at_hand(chosen.cache_dir)
    with steps() as say:
        head, _ = request.prepare_pair(model, cut, chosen.engine, chosen.cache_dir, photos, say, again)
        in_browsers = browser and for_browsers.prepare(model, cut, chosen.engine, chosen.cache_dir, photos, say, again)
    found = head.card.agreement
    click.echo(
        f"head and tail of {model} at {cut} are ready for {chosen.engine}: the best label of the whole net for all "
        f"{found['photos']} photos in float32, for {found['uint8']['same_label']} in uint8, for "
        f"{found.get('uint4', {}).get('same_label', 'an unknown number')} in 4 bits"
    )
    if in_browsers:
        same = in_browsers.agreement
        click.echo(
            f"its head is ready for browsers ({in_browsers.size / 1e6:.1f} MB): with the tail the best label of the "
            f"whole net for {same['uint8']['same_label']} of {same['photos']} photos. The page On this device also "
            "needs `shoal models prepare --browser`"
        )
    click.echo(f"to serve the tail: SHOAL_VENUES=split SHOAL_TAILS={tail_name(model, cut)} shoal up")


command.add_command(plan)


def _check_weights(chosen: settings.Settings, model: str) -> None:
    if chosen.model_weights is not None and model == chosen.model:
        raise Permanent(f"{model} has weights of yours (SHOAL_MODEL_WEIGHTS): such a model is not cut")


def _cells(row: dict[str, Any]) -> list[str]:
    work = f"{row['head_multiply_adds'] / 1e6:.1f} + {row['tail_multiply_adds'] / 1e6:.1f}"
    sizes = (f"{row[size] / 1e3:.1f}" for size in ("float32", "uint8", "uint8_zstd", "uint8_gzip", "uint4_zstd"))
    same = (f"{row[agreeing] / row['pictures']:.1%}" for agreeing in ("agreeing", "agreeing_uint4"))
    return [row["name"], f"{row['head_layers']} + {row['tail_layers']}", work, *sizes, *same]
