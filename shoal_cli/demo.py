"""`shoal demo`: label photos without a browser, and show how the pool grows and shrinks; or walk through a bulk run."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from shoal import ledger_file, settings
from shoal.errors import Permanent, ShoalError
from shoal.folders import folder
from shoal.lifecycle import keep_private
from shoal.state_folder.page_address import page_address
from shoal_cli._batches import _following
from shoal_cli._client import Client, session_for
from shoal_cli._processes import CODE, PYTHON
from shoal_cli._runs._walk import walk
from shoal_cli.up import answers, prepare_model

EXAMPLES = folder("static") / "examples"
BULK = "bulk"
SPEED_PHOTOS = 100  # a few seconds of work
ANSWER_SECONDS = 120.0
STOP_SECONDS = 40.0

console = Console(highlight=False)


class _PhotoOrBulk(click.Path):
    """A file, or the word `bulk`."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises BadParameter."""
        return BULK if value == BULK and not Path(BULK).exists() else super().convert(value, param, ctx)


@click.command(short_help="Label a few photos and show how the pool grows; `bulk`: a whole folder.")
@click.argument("photos", nargs=-1, type=_PhotoOrBulk(exists=True, dir_okay=False, path_type=Path))
@click.option("--into", default=Path("bulk-demo"), type=click.Path(path_type=Path), help="The folder of `demo bulk`.")
@click.option("--count", default=300, show_default=True, type=click.IntRange(1, 9000), help="Photos of `demo bulk`.")
def command(photos: tuple[Path | str, ...], into: Path, count: int) -> None:
    """Label PHOTOS (or a few examples) and show how the pool grows and shrinks.

    `shoal demo bulk` walks through a bulk run instead, by the commands that you would type: it makes a folder of
    photos, labels it, is interrupted, goes on, labels what is added, and exports to Label Studio and Parquet.

    Starts the system if it is not running, and stops it at the end.
    """
    chosen = settings.load()
    address = page_address(chosen)
    files = [one for one in photos if isinstance(one, Path)]
    examples = sorted(EXAMPLES.glob("*.jpg"))
    walking = BULK in photos
    if walking and len(photos) > 1:
        raise click.UsageError(f"{BULK} takes no photos")
    if walking and into.exists():
        raise Permanent(f"{into} is there already: delete it, or name another folder, shoal demo bulk --into FOLDER")
    with _system(chosen, address):
        if walking:
            walk(examples, into, count)
        else:
            _demonstrate(address, files or examples, chosen.state_dir / ledger_file.NAME)


@contextlib.contextmanager
def _system(chosen: settings.Settings, address: str) -> Iterator[None]:
    if answers(address):
        console.print(f"Shoal is up at {address}; using it.", soft_wrap=True)
        yield
        return
    prepare_model(chosen)
    keep_private(chosen.state_dir)
    console.print("Starting Shoal ...")
    log = chosen.state_dir / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        process = subprocess.Popen([*PYTHON, "-m", "shoal_cli", "up"], env=os.environ | CODE, stdout=file, stderr=file)
        try:
            _wait_for_answer(process, address, log)
            yield
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)
            console.print("Stopped Shoal.")


def _wait_for_answer(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    while not answers(address):
        if process.poll() is not None:
            raise ShoalError(f"Shoal did not start: {(log.read_text().strip().splitlines() or [str(log)])[-1]}")
        time.sleep(0.1)


def _demonstrate(address: str, photos: list[Path], ledger: Path) -> None:
    if not photos:
        raise Permanent(f"there are no photos in {EXAMPLES}: name some, shoal demo PHOTO ...")
    sentences = _Sentences(ledger)
    began = time.monotonic()
    batch = _submit(address, photos)
    console.print(f"Sent {len(photos)} photos: {address}/batches/{batch}\n")
    shown: dict[int, dict[str, Any]] = {}
    session = session_for(address)
    while len(shown) < len(photos):
        if time.monotonic() - began > ANSWER_SECONDS:
            raise ShoalError(f"only {len(shown)} of {len(photos)} photos were answered within {ANSWER_SECONDS:.0f} s")
        for photo in session.get(f"{address}/batches/{batch}.json", timeout=30).json()["photos"]:
            if photo["state"] != "queued" and photo["index"] not in shown:
                shown[photo["index"]] = {**photo, "after": time.monotonic() - began}
                console.print(f"  {_line(photo)}", markup=False)
        sentences.show()
        time.sleep(0.1)
    answered = time.monotonic() - began
    console.print(f"\nAll answered. {SPEED_PHOTOS} more are sent at once, to see how fast the warm pool is.")
    speed = _images_per_second(address)
    _show_fall(sentences)
    _show_table([shown[index] for index in sorted(shown)])
    console.print(
        f"{len(photos)} photos in {answered:.1f} s; the pool went from {sentences.at_first} workers "
        f"to {sentences.most} and is empty now."
    )
    if speed:
        console.print(f"The {SPEED_PHOTOS} more photos: {speed:.0f} images/s on this machine.")


def _images_per_second(address: str) -> float:
    """How many of the examples are labelled in a second, from their upload to the last label; 0 without examples."""
    examples = sorted(EXAMPLES.glob("*.jpg"))
    if not examples:
        return 0.0
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{number}.jpg" for number in range(SPEED_PHOTOS)]
        for number, path in enumerate(paths):
            # No two are the same, because a worker remembers its answers.
            path.write_bytes(numbered(examples[number % len(examples)].read_bytes(), number))
        client = Client(address)
        began = time.monotonic()
        batch = client.new_batch()
        sent = sum(client.upload(batch, paths))
        answered = _following.answers(client, batch, sent, ANSWER_SECONDS, lambda *_: None)
        return sum(1 for _ in answered) / (time.monotonic() - began)


def numbered(jpeg: bytes, number: int) -> bytes:
    """The same picture in other bytes, which intake keeps: JFIF's density of pixels, of no meaning here, is a number.

    jpeg: begins with JFIF, as Pillow writes it. number: at most 65,534. Raises ValueError without JFIF.
    """
    at = jpeg.index(b"JFIF\0") + 8
    return jpeg[:at] + struct.pack(">H", 1 + number) + jpeg[at + 2 :]


def _submit(address: str, photos: list[Path]) -> str:
    session = session_for(address)
    batch = str(session.post(f"{address}/batches", timeout=30).json()["batch"])
    with contextlib.ExitStack() as opened:
        files = [("inputFile", (path.name, opened.enter_context(path.open("rb")))) for path in photos]
        answer = session.post(f"{address}/batches/{batch}/photos?first=0", files=files, timeout=120)
    if not answer.ok:
        raise ShoalError(f"the upload was refused: {answer.text.strip()[:300]}")
    return batch


def _line(photo: dict[str, Any]) -> str:
    if photo["state"] in ("failed", "cancelled"):
        return f"{photo['name']}: failed: {photo['error']}"
    return f"{photo['name']}, {_label(photo)}, {photo['probability'] or 0:.1%}"


def _label(photo: dict[str, Any]) -> str:
    if photo["state"] in ("failed", "cancelled"):
        return f"failed: {photo['error']}"
    return str(photo["label"] or "nothing found")


class _Sentences:
    """The controller's decisions since now, from its ledger."""

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger
        self._start = self._since = time.time()
        before = [entry for entry in ledger_file.read(ledger) if entry.at < self._since]
        self.at_first = before[-1].machines if before else 0
        self.machines = self.most = self.at_first

    def show(self) -> None:
        """Print the new decisions, each with its own time: those of the last look may be seconds old."""
        for entry in ledger_file.read(self.ledger):
            if entry.at < self._since:
                continue
            self.machines = entry.machines
            self.most = max(self.most, self.machines)
            if entry.at > self._since:
                console.print(f"  [cyan]{entry.at - self._start:5.1f} s  controller:[/] ", end="")
                console.print(entry.sentence, markup=False, soft_wrap=True)
            self._since = entry.at + 1e-6


def _show_fall(sentences: _Sentences) -> None:
    console.print("The pool stays for a moment in case more comes, then empties.")
    deadline = time.monotonic() + ANSWER_SECONDS
    while sentences.machines:
        if time.monotonic() > deadline:
            raise ShoalError(f"the pool did not become empty: see {sentences.ledger} for the reason")
        time.sleep(0.2)
        sentences.show()


def _show_table(photos: list[dict[str, Any]]) -> None:
    table = Table("name", "label", "confidence", "after", title="What the workers saw")
    for photo in photos:
        table.add_row(photo["name"], _label(photo), f"{photo['probability'] or 0:.1%}", f"{photo['after']:.1f} s")
    console.print(table)
