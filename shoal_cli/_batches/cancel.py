"""`shoal cancel`: cancel the photos of a batch that have no result yet."""

from __future__ import annotations

from collections.abc import Mapping

import click

from shoal_cli._batches import _sent
from shoal_cli._batches._address import FOR_OTHERS, url_option
from shoal_cli._batches._counted import counted
from shoal_cli._client import Client


@click.command(short_help="Cancel the photos of a batch that have no result yet.")
@click.argument("batch")
@url_option(FOR_OTHERS)
def command(batch: str, url: str | None) -> None:
    """Cancel the photos of BATCH that have no result yet: the id of a batch, or the address of its page."""
    sent = _sent.find(batch, url)
    click.echo(tell_cancelled(Client(sent.address).cancel(sent.batch)))


def tell_cancelled(done: Mapping[str, int]) -> str:
    """What a cancel did, in a sentence. done: as `Client.cancel` returns it."""
    before, now = done["before"], done["cancelled"] - done["before"]
    labelled = f"{done['labelled']} had been labelled."
    if now > 0:
        return f"{counted(now, 'photo')} cancelled, " + (f"{before} were before, " if before else "") + labelled
    return "Nothing was left to cancel; " + (f"{before} were cancelled before, " if before else "") + labelled
