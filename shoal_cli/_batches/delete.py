"""`shoal delete`: delete all that is kept of a batch."""

from __future__ import annotations

import click

from shoal_cli._batches import _sent
from shoal_cli._batches._address import FOR_OTHERS, url_option
from shoal_cli._batches._counted import counted
from shoal_cli._client import Client


@click.command(short_help="Delete a batch: photos, results and corrections.")
@click.argument("batch")
@url_option(FOR_OTHERS)
@click.confirmation_option(prompt="Delete the photos, results and corrections of this batch for good?")
def command(batch: str, url: str | None) -> None:
    """Delete what is kept of BATCH, the id of a batch or the address of its page. Nobody can bring it back."""
    sent = _sent.find(batch, url)
    photos = Client(sent.address).delete(sent.batch)
    _sent.forget(sent.batch)
    click.echo(f"{counted(photos, 'photo')} deleted, with results and corrections.")
