"""`shoal retry`: label the failed photos of a batch again."""

from __future__ import annotations

import click

from shoal_cli._batches import _sent
from shoal_cli._batches._address import FOR_OTHERS, url_option
from shoal_cli._batches._counted import counted
from shoal_cli._client import Client

NOTHING = (
    "No photo of the batch failed, or those that did cannot be labelled: `shoal results {}` says why. "
    "Photos that were cancelled stay so: send them again."
)


@click.command(short_help="Label the failed photos of a batch again.")
@click.argument("batch")
@url_option(FOR_OTHERS)
def command(batch: str, url: str | None) -> None:
    """Label the failed photos of BATCH again: the id of a batch, or the address of its page.

    A photo that is at fault itself, such as a damaged file, is left as it is: it would fail again.
    """
    sent = _sent.find(batch, url)
    retried = Client(sent.address).retry(sent.batch)
    if not retried:
        click.echo(NOTHING.format(sent.batch))
        return
    verb = "is" if retried == 1 else "are"
    click.echo(f"{counted(retried, 'photo')} {verb} labelled again: `shoal results --wait {sent.batch}` shows them.")
