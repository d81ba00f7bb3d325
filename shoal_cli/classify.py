"""`shoal classify`: label files and folders with a running Shoal."""

from __future__ import annotations

import csv
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from inference.decoding import photo_formats
from inference.photo_folders import is_system_file, list_files, readable, tell_leftovers
from shoal import settings
from shoal.errors import Permanent, Retryable
from shoal_cli._client import Client

POLL_SECONDS = 0.3
SUFFIXES_TOLD = 6
LABEL_FIELDS = ("wordnet_id", "readable", "class_id")
FAILED = 2  # the exit status when a photo failed; 1 when the command failed

screen = Console(stderr=True, highlight=False)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="", help="A model that the Shoal serves; its default when not given.")
@click.option("--json", "form", flag_value="json", help="Print a JSON object for each photo.")
@click.option(
    "--csv",
    "form",
    flag_value="csv",
    help="Print a table with a header line: name,label,probability,error,wordnet_id,readable,class_id.",
)
@click.option("--url", help="The address of Shoal; made from SHOAL_HOST and SHOAL_PORT when not given.")
@click.option(
    "--timeout", "seconds", type=float, default=600.0, show_default=True, help="Seconds to wait without an answer."
)
def command(paths: tuple[Path, ...], model: str, form: str | None, url: str | None, seconds: float) -> None:
    """Label the photos in PATHS: files, and folders with their subfolders.

    Prints a line for each photo, and a summary to standard error. The exit status is 0 when every photo was labelled,
    2 when some failed, 1 when the command itself failed.
    """
    chosen = settings.load()
    client = Client(url or f"http://{chosen.host}:{chosen.port}")
    photos, left_out = _photos(paths)
    began = time.monotonic()
    batch = client.new_batch()
    found = _label(client, batch, photos, model, seconds)
    took = time.monotonic() - began
    _print(photos, found, form)
    _summarise(found, took, f"{client.address}/batches/{batch}")
    if left_out:
        screen.print(left_out, markup=False, soft_wrap=True)
    if any(photo["state"] == "failed" for photo in found):
        raise SystemExit(FAILED)


def _photos(paths: Sequence[Path]) -> tuple[list[Path], str]:
    """The photos to send, and in words what is left out. A file that is named is sent whatever its suffix is.

    A shell's * also names files such as Thumbs.db, so those are left out even when they are named.
    """
    photos: list[Path] = []
    suffixes: Counter[str] = Counter()
    leftovers = 0
    for path in paths:
        if is_system_file(path.name):
            leftovers += 1
        elif path.is_dir():
            inside = list_files(path)
            leftovers += inside.leftovers
            for file in inside.files:
                if file.suffix.lower() in photo_formats.SUFFIXES:
                    photos.append(file)
                else:
                    suffixes[file.suffix.lower()] += 1
        else:
            photos.append(path)
    told = _tell_left_out(leftovers, suffixes)
    if not photos:
        where = ", ".join(map(readable, paths))
        raise Permanent(f"there are no photos in {where}" + (f" ({told})" if told else ""))
    return photos, told


def _tell_left_out(leftovers: int, suffixes: Counter[str]) -> str:
    """What was left out, in one line; empty for nothing."""
    told = [tell_leftovers(leftovers)] if leftovers else []
    if suffixes:
        names = ", ".join(readable(suffix) or "no suffix" for suffix, _ in suffixes.most_common(SUFFIXES_TOLD))
        count = suffixes.total()
        told.append(f"{count} other files skipped by suffix ({names})")
    return "; ".join(told)


def _label(client: Client, batch: str, photos: list[Path], model: str, seconds: float) -> list[dict[str, Any]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        sending = progress.add_task("sending", total=len(photos))
        for count in client.upload(batch, photos, model):
            progress.advance(sending, count)
        labelling = progress.add_task("labelling", total=len(photos))
        return list(
            _answers(client, batch, len(photos), seconds, lambda done: progress.update(labelling, completed=done))
        )


def _answers(client: Client, batch: str, total: int, seconds: float, tell: Any) -> Iterator[dict[str, Any]]:
    """Yield the photos in order, each as soon as it and all before it have an answer."""
    answered, last = 0, time.monotonic()
    while answered < total:
        for photo in client.photos(batch, answered - 1):
            if photo["state"] == "queued":
                break
            answered, last = answered + 1, time.monotonic()
            yield photo
        tell(answered)
        if time.monotonic() - last > seconds:
            raise Retryable(
                f"{total - answered} photos were not answered for {seconds:g} s: {client.address}/batches/{batch}"
            )
        if answered < total:
            time.sleep(POLL_SECONDS)


def _print(photos: list[Path], found: list[dict[str, Any]], form: str | None) -> None:
    if form == "csv":
        table = csv.writer(sys.stdout)
        table.writerow(("name", "label", "probability", "error", *LABEL_FIELDS))
        table.writerows(
            (readable(path), *_row(photo), *_label_fields(photo)) for path, photo in zip(photos, found, strict=True)
        )
        return
    for path, photo in zip(photos, found, strict=True):
        if form == "json":
            click.echo(json.dumps({"path": readable(path), **photo}, ensure_ascii=False))
        else:
            label, probability, error = _row(photo)
            name = readable(path)
            click.echo(f"{name}, {label} {probability:.1%}" if not error else f"{name}: failed: {error}")


def _label_fields(photo: dict[str, Any]) -> list[Any]:
    """What else is known of the best label: empty where the model does not know it, or detects objects."""
    best: dict[str, Any] = next(iter(photo.get("labels") or ()), {}) if photo["state"] == "done" else {}
    return [best.get(field, "") for field in LABEL_FIELDS]


def _row(photo: dict[str, Any]) -> tuple[str, float, str]:
    """Label, probability, error."""
    if photo["state"] == "failed":
        return "", 0.0, photo["error"]
    if best := next(iter(photo.get("labels") or ()), None):
        return best["name"], best["probability"], ""
    if found := next(iter(photo.get("detections") or ()), None):
        return found["name"], found["score"], ""
    return "nothing found", 1.0, ""


def _summarise(found: list[dict[str, Any]], took: float, page: str) -> None:
    failed = sum(photo["state"] == "failed" for photo in found)
    screen.print(f"{len(found)} photos in {took:.1f} s, {len(found) / took:.1f}/s; {failed} failed. {page}")
    spent = [sum(photo["seconds"].values()) for photo in found if photo.get("seconds")]
    if spent:
        deviation = statistics.stdev(spent) if len(spent) > 1 else 0.0
        screen.print(
            f"Seconds a photo: mean {statistics.fmean(spent):.2f}, SD {deviation:.2f}, "
            f"min {min(spent):.2f}, max {max(spent):.2f}"
        )
