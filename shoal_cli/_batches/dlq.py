"""`shoal dlq`: dead letters, the request messages that no worker could finish."""

from __future__ import annotations

import click

from shoal import dead_letters, settings
from shoal.aws import connect_to_running
from shoal.buckets import foreign_messages
from shoal.buckets.foreign_messages import ForeignMessage
from shoal.dead_letters import DeadLetter
from shoal.ports import Cloud
from shoal_cli._batches._counted import counted

SHOWN = 100  # characters of a message that is not ours


@click.group()
def command() -> None:
    """Dead letters: request messages that no worker could finish.

    A running controller gives their photos failed results within a minute, and keeps them. It copies messages that are
    not Shoal's to the output bucket. Both are listed here until you redrive or purge them.
    """


@command.command("list")
def list_() -> None:
    """List the dead letters and the kept messages that are not Shoal's. Changes nothing."""
    cloud = _cloud()
    letters = dead_letters.look(cloud)
    for letter in letters:
        click.echo(_line(letter))
    foreign = foreign_messages.kept(cloud.outputs)
    for message in foreign:
        click.echo(_foreign_line(message))
    kept = f"{counted(len(foreign), 'kept message')} not of Shoal"
    click.echo(f"{counted(len(letters), 'dead letter')}, {kept}", err=True)


@command.command()
@click.argument("keys", nargs=-1)
def redrive(keys: tuple[str, ...]) -> None:
    """Send the dead letters to the request queue again; with KEYS, as `list` shows them, those alone."""
    count = dead_letters.redrive(_cloud(), keys or None)
    click.echo(f"{counted(count, 'message')} sent to the request queue again")


@command.command()
@click.argument("keys", nargs=-1)
@click.confirmation_option(prompt="Delete dead letters? Photos without a result stay so, the others stay failed.")
def purge(keys: tuple[str, ...]) -> None:
    """Delete the dead letters, and the kept messages that are not Shoal's; with KEYS those letters alone."""
    cloud = _cloud()
    click.echo(f"{counted(dead_letters.purge(cloud, keys or None), 'dead letter')} deleted")
    if not keys:
        click.echo(f"{counted(foreign_messages.delete(cloud.outputs), 'message')} not of Shoal deleted")


def _cloud() -> Cloud:
    return connect_to_running(settings.load_with_env_file())


def _line(letter: DeadLetter) -> str:
    if not letter.key:
        return _foreign_line(ForeignMessage(letter.body, letter.cause))
    answered = ", answered as failed" if letter.answered else ""
    return f"{letter.key}, delivered {letter.deliveries} times{answered}: {letter.cause}"


def _foreign_line(message: ForeignMessage) -> str:
    # Escaped: it may hold what a terminal obeys or cannot show.
    return f"not a message of Shoal ({message.reason}): {message.body[:SHOWN]!a}"
