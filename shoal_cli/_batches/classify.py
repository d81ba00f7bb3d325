"""`shoal classify`: label files and folders with a running Shoal."""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from shoal import settings
from shoal.errors import Permanent, Retryable
from shoal.photo_record import TOP
from shoal.state_folder.page_address import page_address
from shoal_cli._accounts._chosen_key import chosen_key, given_key
from shoal_cli._batches import _sent
from shoal_cli._batches._address import MADE, url_option
from shoal_cli._batches._chosen_photos import chosen_photos
from shoal_cli._batches._contracts import CONTRACTS, Endpoint, averages
from shoal_cli._batches._counted import counted
from shoal_cli._batches._following import Bars, answers
from shoal_cli._batches._output import NOT_ALL, Output, Wanted, failures, output_options
from shoal_cli._batches._sent import Sent
from shoal_cli._batches.cancel import tell_cancelled
from shoal_cli._client import Client
from shoal_cli._splitting._by_function import function_device, labelled, tail_calls
from shoal_cli._splitting._device import SPLIT, Device
from shoal_cli._splitting._plan import BEST, best_cut, best_of_function
from shoal_cli.models import steps

WORKER, FUNCTION = "worker", "lambda"  # who runs a tail
INTERRUPTED = 130  # the status of a shell for a Ctrl-C

screen = Console(stderr=True, highlight=False)


@click.command(short_help="Label photos: files and folders.")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="", help="A model that the Shoal serves; its default when not given.")
@click.option("--venue", default="", help="Where: pool, local or split; without it as the operator has chosen.")
@click.option(
    "--cut",
    default="",
    help="With --venue split: the cut, if several heads are prepared here; `best` measures which is the fastest.",
)
@click.option("--bits", type=click.Choice(["8", "4"]), default="8", show_default=True,
              help="With --venue split: of each number that travels.")  # fmt: skip
@click.option("--tail", type=click.Choice([WORKER, FUNCTION]), default=WORKER, show_default=True,
              help="With --venue split: who runs it.")  # fmt: skip
@click.option("--contract", type=click.Choice(list(CONTRACTS)), help="Call an endpoint of a published system instead.")
@click.option("--resume", metavar="BATCH", default="", help="Send the photos of a batch that were not sent, no PATHS.")
@output_options
@url_option(MADE)
@click.option(
    "--timeout", "patience", type=float, default=600.0, show_default=True, help="Seconds to wait without an answer."
)
def command(
    paths: tuple[Path, ...],
    model: str,
    venue: str,
    cut: str,
    bits: str,
    tail: str,
    contract: str | None,
    resume: str,
    url: str | None,
    patience: float,
    **output: Any,
) -> None:
    """Label the photos in PATHS: files, and folders with their subfolders.

    Prints the batch's address and a summary to standard error, and a line for each photo as soon as it and those
    before it are answered. Ctrl-C asks whether the batch goes on; `shoal results` shows it later.

    With --contract each photo is a call to a Shoal's endpoint of that contract, or to another's that --url names with
    its path. At the end stand the average times of inference and transfer.

    With --venue split the photos stay on this device: it runs the head of the model (`shoal split prepare`) and sends
    activations. A worker runs the tail, or with --tail lambda the function of `shoal prepare --venue split`, which
    needs no running Shoal and stores nothing.

    The exit status is 0 when every photo was labelled, 2 when some failed or were cancelled or the command was called
    wrongly, 1 when the command itself failed, 130 after a Ctrl-C.
    """
    _check(bool(paths), resume, venue, tail, contract)
    if contract:
        output["top"] = output["top"] or TOP
    wanted = Wanted.of(**output)
    chosen = settings.load()
    address = url or page_address(chosen)
    photos, left_out = chosen_photos(paths) if paths else ([], "")
    if contract:
        if model or wanted.draw or wanted.coco:
            raise click.UsageError("The contracts know no --model, and too little of a box for --draw and --coco.")
        # An endpoint that --url names may be somebody else's, who must not get the key of a Shoal.
        key = given_key() if url else chosen_key()
        endpoint = Endpoint(CONTRACTS[contract], address, patience, key)
        _by_contract(endpoint, photos, left_out, wanted, chosen.max_pixels)
        return
    if tail == FUNCTION:
        _by_function(photos, left_out, wanted, model, cut, f"uint{bits}")
        return
    known = _sent.find_own(resume, url) if resume else None
    client = Client(known.address if known else address)
    request = BatchRequest(wanted, model, venue, patience, chosen.max_pixels, bool(resume))
    if venue == SPLIT or (known and known.tail):
        if cut == BEST:
            with steps() as say:
                cut = best_cut(chosen, model or chosen.model, photos, address, say)
        device = Device.of(chosen, known.tail if known else "", model, cut, f"uint{bits}")
        _split(client, known, photos, device, request, left_out)
        return
    if model:
        client.check_model(model)
    sent = known or _sent.keep(chosen, client, client.new_batch(), photos)
    _follow(client, sent, request, left_out)


def _check(paths: bool, resume: str, venue: str, tail: str, contract: str | None) -> None:
    """Raise UsageError for options that do not fit together."""
    if paths == bool(resume) or (resume and contract):
        raise click.UsageError("Give PATHS to label; or --resume BATCH alone, without PATHS and without --contract.")
    if contract and venue:
        raise click.UsageError("The contracts know no --venue.")
    if tail == FUNCTION and (venue != SPLIT or resume):
        raise click.UsageError("--tail lambda needs --venue split, and has no batch to resume.")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What the options say of a batch. patience: seconds to wait without an answer. resumed: a part may be there.

    files: what is sent instead of the photos, by index.
    """

    wanted: Wanted
    model: str
    venue: str
    patience: float
    max_pixels: int
    resumed: bool
    files: Sequence[Path] = ()


def _split(
    client: Client, known: Sent | None, photos: list[Path], device: Device, request: BatchRequest, left_out: str
) -> None:
    """Run the head on all photos, and send the activations. known: the batch that is resumed."""
    given = list(map(Path, known.paths)) if known else photos
    with device.packed(given) as packed:
        screen.print(packed.told(), markup=False, soft_wrap=True)
        if known and packed.refused:
            raise Permanent(f"the batch cannot go on: {packed.refused[0]}")
        chosen = settings.load()
        sent = known or _sent.keep(chosen, client, client.new_batch(), packed.photos, device.tail)
        request = replace(request, model=device.tail, venue=SPLIT, files=packed.files)
        _follow(client, sent, request, left_out)
    if packed.refused:
        raise SystemExit(NOT_ALL)


def _follow(client: Client, sent: Sent, request: BatchRequest, left_out: str) -> None:
    """Send what was not sent, write all photos with their answers, and end with the exit status."""
    began = time.monotonic()
    progress = BatchProgress(client, sent, request)
    screen.print(f"Batch {sent.batch}: {sent.page}", markup=False, soft_wrap=True)
    found = []
    try:
        with Output(request.wanted, sent.path, request.max_pixels) as out:
            for photo in progress.label():
                out.write(photo)
                found.append(photo)
    except KeyboardInterrupt:
        _stop(client, sent, progress.arrived)
        raise SystemExit(INTERRUPTED) from None
    except Retryable as error:
        kept = sent.unsent(progress.arrived) or f"All photos were sent and are kept: `shoal results {sent.batch}`"
        raise Retryable(f"{error}. {kept}") from error
    _summarise(found, time.monotonic() - began, client.cost(sent.batch), sent.page, request.resumed)
    for sentence in (*out.told(), *filter(None, [left_out])):
        screen.print(sentence, markup=False, soft_wrap=True)
    if any(photo["state"] != "done" for photo in found):
        raise SystemExit(NOT_ALL)


def _by_contract(endpoint: Endpoint, photos: list[Path], left_out: str, wanted: Wanted, max_pixels: int) -> None:
    """Send the photos to an endpoint of a published system. Whatever ends it, the averages until then are told."""
    found: list[dict[str, Any]] = []
    began = time.monotonic()
    try:
        with Output(wanted, photos.__getitem__, max_pixels) as out, Bars(screen, len(photos)) as bars:
            labelling = bars.bar("labelling")
            for photo in endpoint.label(photos):
                out.write(photo)
                found.append(photo)
                labelling(len(found), "")
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    finally:
        failed = failures(Counter(photo["state"] for photo in found))
        told = f"{counted(len(found), 'photo')} in {time.monotonic() - began:.1f} s; {failed}. {endpoint.address}"
        for sentence in filter(None, [told, averages(found), left_out]):
            screen.print(sentence, markup=False, soft_wrap=True)
    if any(photo["state"] != "done" for photo in found):
        raise SystemExit(NOT_ALL)


def _by_function(photos: list[Path], left_out: str, wanted: Wanted, model: str, cut: str, dtype: str) -> None:
    """Run the head on all photos, and send the activations to the Lambda function."""
    chosen = settings.load_with_env_file()
    calls, tails, _ = tail_calls(chosen)
    if cut == BEST:
        with steps() as say:
            cut = best_of_function(chosen, model or chosen.model, photos, say)
    device = function_device(chosen, model, cut, dtype, tails)
    began, states = time.monotonic(), Counter[str]()
    with device.packed(photos) as packed:
        screen.print(packed.told(), markup=False, soft_wrap=True)
        with Output(wanted, packed.photos.__getitem__, chosen.max_pixels) as out, Bars(screen, len(photos)) as bars:
            labelling = bars.bar("labelling")
            for photo in labelled(calls, packed):
                out.write(photo)
                states[photo["state"]] += 1
                labelling(states.total(), "")
    told = f"{counted(states.total(), 'photo')} in {time.monotonic() - began:.1f} s; {failures(states)}. {calls.name}"
    for sentence in filter(None, [told, left_out]):
        screen.print(sentence, markup=False, soft_wrap=True)
    if packed.refused or states["failed"]:
        raise SystemExit(NOT_ALL)


class BatchProgress:
    """Sends the photos of a batch that are not there yet, and waits for the answers of all.

    arrived: how many photos are there.
    """

    def __init__(self, client: Client, sent: Sent, request: BatchRequest) -> None:
        self._client = client
        self._sent = sent
        self._request = request
        self.arrived = 0

    def label(self) -> Iterator[dict[str, Any]]:
        """Send the photos, and yield all with their answers. Raises Retryable."""
        client, batch, patience = self._client, self._sent.batch, self._request.patience
        paths = [Path(path) for path in self._sent.paths]
        there = {photo["index"] for photo in client.photos(batch)} if self._request.resumed else set()
        self.arrived = len(there)
        with Bars(screen, len(paths)) as bars:
            sending = bars.bar("sending")

            def away(why: str) -> None:
                sending(self.arrived, why)

            away("")
            files, venue = self._request.files or paths, self._request.venue
            for count in client.upload(batch, files, self._request.model, patience, away, there, venue):
                self.arrived += count
                away("")
            yield from answers(client, batch, len(paths), patience, bars.bar("labelling"))


def _stop(client: Client, sent: Sent, arrived: int) -> None:
    """Ask whether the batch goes on or is cancelled. Without a person to ask it goes on."""
    words = (
        f"The photos that were sent will be labelled. `shoal results {sent.batch}` shows them, "
        f"`shoal cancel {sent.batch}` ends it."
    )
    if unsent := sent.unsent(arrived):
        words += f" {unsent}."
    if not (screen.is_terminal and sys.stdin.isatty()):
        screen.print(f"Stopped waiting. {words}", markup=False, soft_wrap=True)
        return
    try:
        choice = click.prompt(
            "\nLeave the batch running (l), or cancel it (c)?",
            type=click.Choice(["l", "c", "leave", "cancel"], case_sensitive=False),
            show_choices=False,
            default="l",
            err=True,
        )
    except click.Abort:  # a second Ctrl-C
        choice = "l"
    if choice in ("c", "cancel"):
        done = client.cancel(sent.batch)
        hint = f" `shoal results {sent.batch}` shows them." if done["labelled"] else ""
        screen.print(f"{tell_cancelled(done)}{hint}", markup=False, soft_wrap=True)
    else:
        screen.print(words, markup=False, soft_wrap=True)


def _summarise(found: list[dict[str, Any]], took: float, cost: str, page: str, resumed: bool) -> None:
    count = Counter(photo["state"] for photo in found)
    cached = sum(bool(photo.get("cached")) for photo in found)
    fresh = count["done"] - cached
    # With many remembered or earlier answers a rate would say nothing of how fast photos are labelled.
    rate = f"{fresh / took:.1f}/s" if fresh > cached and not resumed else ""
    if rate and count["done"] < len(found):  # the rate is that of fewer photos than stand before it
        rate = f"{fresh} labelled, {rate}"
    remembered = f"{cached} from the answer cache" if cached else ""
    told = ", ".join(filter(None, [f"{counted(len(found), 'photo')} in {took:.1f} s", rate, remembered, cost]))
    screen.print(f"{told}; {failures(count)}. {page}", markup=False, soft_wrap=True)
    spent = [sum(photo["seconds"].values()) for photo in found if photo.get("seconds")]
    if spent:
        deviation = statistics.stdev(spent) if len(spent) > 1 else 0.0
        screen.print(
            f"Latency from upload, seconds a photo: mean {statistics.fmean(spent):.2f}, SD {deviation:.2f}, "
            f"min {min(spent):.2f}, max {max(spent):.2f}"
        )
