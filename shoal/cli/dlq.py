"""`shoal dlq`: the dead letters, request messages that no worker could finish."""

from __future__ import annotations

import click

from shoal import settings
from shoal.aws import connect
from shoal.errors import MalformedMessage
from shoal.messages import Job
from shoal.ports import Cloud, Received


@click.group()
def command() -> None:
    """Dead letters: request messages that no worker could finish.

    A running controller's sweeper gives them failed results within a minute, so most of the time there are none.
    """


@command.command("list")
def list_() -> None:
    """Show them; they stay where they are."""
    cloud = _cloud()
    letters = _take(cloud)
    for letter in letters:
        click.echo(_line(letter))
    cloud.dead_letters.extend([letter.receipt for letter in letters], 0)
    click.echo(f"{len(letters)} dead letters", err=True)


@command.command()
def redrive() -> None:
    """Send them to the request queue once more."""
    cloud = _cloud()
    count = 0
    while letters := cloud.dead_letters.receive(10, 0):
        cloud.requests.send([letter.body for letter in letters])
        cloud.dead_letters.delete([letter.receipt for letter in letters])
        count += len(letters)
    click.echo(f"{count} messages are in the request queue again")


@command.command()
@click.confirmation_option(prompt="Delete all dead letters? Their photos stay without a result.")
def purge() -> None:
    """Delete them."""
    cloud = _cloud()
    count = 0
    while letters := cloud.dead_letters.receive(10, 0):
        cloud.dead_letters.delete([letter.receipt for letter in letters])
        count += len(letters)
    click.echo(f"{count} dead letters deleted")


def _cloud() -> Cloud:
    return connect(settings.load_with_env_file())


def _take(cloud: Cloud) -> list[Received]:
    letters: list[Received] = []
    while found := cloud.dead_letters.receive(10, 0):
        letters += found
    return letters


def _line(letter: Received) -> str:
    try:
        return f"{Job.from_json(letter.body).key}, delivered {letter.deliveries} times"
    except MalformedMessage as error:
        return f"not one of ours ({error}): {letter.body[:100]}"
