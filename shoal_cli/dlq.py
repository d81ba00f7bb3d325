"""`shoal dlq`: dead letters, the request messages that no worker could finish."""

from __future__ import annotations

import click

from shoal import dead_letters, settings
from shoal.errors import MalformedMessage
from shoal.messages import Job
from shoal.ports import Cloud, Received
from shoal_cli._cloud import connect_to_running

SHOWN = 100  # characters of a message that is not ours


@click.group()
def command() -> None:
    """Dead letters: request messages that no worker could finish.

    A running controller gives them failed results within a minute, so usually there are none.
    """


@command.command("list")
def list_() -> None:
    """List the dead letters and leave them in their queue."""
    letters = dead_letters.look(_cloud())
    for letter in letters:
        click.echo(_line(letter))
    click.echo(f"{len(letters)} dead letters", err=True)


@command.command()
def redrive() -> None:
    """Send the dead letters to the request queue again."""
    click.echo(f"{dead_letters.redrive(_cloud())} messages are in the request queue again")


@command.command()
@click.confirmation_option(prompt="Delete all dead letters? Their photos stay without a result.")
def purge() -> None:
    """Delete the dead letters."""
    click.echo(f"{dead_letters.purge(_cloud())} dead letters deleted")


def _cloud() -> Cloud:
    return connect_to_running(settings.load_with_env_file())


def _line(letter: Received) -> str:
    try:
        return f"{Job.from_json(letter.body).key}, delivered {letter.deliveries} times"
    except MalformedMessage as error:
        # Escaped: it may hold what a terminal obeys or cannot show.
        return f"not a message of Shoal ({error}): {letter.body[:SHOWN]!a}"
