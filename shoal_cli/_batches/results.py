"""`shoal results`: the results of a batch, now or as they come."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click
from rich.console import Console

from shoal import settings
from shoal.errors import Permanent
from shoal_cli._batches import _sent
from shoal_cli._batches._address import FOR_OTHERS, url_option
from shoal_cli._batches._counted import counted
from shoal_cli._batches._following import Bars, answers
from shoal_cli._batches._output import NOT_ALL, Output, Wanted, failures, output_options
from shoal_cli._client import Client

screen = Console(stderr=True, highlight=False)


@click.command(short_help="Show the photos of a batch with their labels.")
@click.argument("batch")
@output_options
@click.option("--wait", is_flag=True, help="Wait for the photos that have no answer yet.")
@url_option(FOR_OTHERS)
@click.option(
    "--timeout", "patience", type=float, default=600.0, show_default=True, help="Seconds to wait without an answer."
)
def command(batch: str, wait: bool, url: str | None, patience: float, **output: Any) -> None:
    """Show the photos of BATCH, the id of a batch or the address of its page. `shoal batches` lists yours.

    The exit status is 0 when every photo was labelled, 2 when some failed, were cancelled, still wait or were never
    sent or the command was called wrongly, 1 when the command itself failed, 130 after a Ctrl-C.
    """
    wanted = Wanted.of(**output)
    sent = _sent.find(batch, url)
    client = Client(sent.address)
    count: Counter[str] = Counter()
    total = client.batch(sent.batch)["total"]
    if not total:
        why = sent.unsent(0) or "`shoal batches` lists the batches that you sent"
        raise Permanent(f"{sent.batch} has no photos: {why}")
    with Output(wanted, sent.path, settings.load().max_pixels) as out, Bars(screen, total) as bars:
        photos = client.photos(sent.batch)
        if wait:
            photos = answers(client, sent.batch, total, patience, bars.bar("labelling"))
        for photo in photos:
            out.write(photo)
            count[photo["state"]] += 1
    waiting = f", {count['queued']} wait (--wait waits for them)" if count["queued"] else ""
    cost = client.cost(sent.batch)
    told = f"{counted(count.total(), 'photo')}, {failures(count)}{waiting}{cost and f'; {cost}'}"
    screen.print(f"{told}. {sent.page}", markup=False, soft_wrap=True)
    for sentence in filter(None, [sent.unsent(count.total()), *out.told()]):
        screen.print(sentence, markup=False, soft_wrap=True)
    if count["done"] < max(count.total(), len(sent.paths)):
        raise SystemExit(NOT_ALL)
