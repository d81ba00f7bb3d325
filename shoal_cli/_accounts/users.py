"""`shoal users`: who signs in with a password."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from shoal.accounts.users import Users
from shoal.errors import Permanent
from shoal_cli._accounts._store import RESULTS, kept_in


@click.group(short_help="List, add and remove the users who sign in.")
def command() -> None:
    """Users: who signs in with name and password where SHOAL_SIGN_IN asks for it."""


@command.command()
@click.argument("name")
@click.option("--operator", is_flag=True, help="May see and change the fleet, dead letters and settings, too.")
@RESULTS
def add(name: str, operator: bool, results: Path | None) -> None:
    """Add the user NAME. Asks for the password, or reads it from standard input; it is kept as an argon2 hash."""
    users = Users(kept_in(results))
    user = users.add(name, _password(), "operator" if operator else "user")
    click.echo(f"{user.name} can sign in" + (", as an operator" if operator else ""))


@command.command("list")
@RESULTS
def list_(results: Path | None) -> None:
    """List the users and their roles."""
    for user in Users(kept_in(results)).all():
        click.echo(f"{user.name:<32} {user.role}")


@command.command()
@click.argument("name")
@RESULTS
def password(name: str, results: Path | None) -> None:
    """Change the password of NAME, and sign NAME out everywhere."""
    Users(kept_in(results)).set_password(name, _password())
    click.echo(f"{name} signs in with the new password from now on; older sessions have ended")


@command.command()
@click.argument("name")
@RESULTS
def remove(name: str, results: Path | None) -> None:
    """Remove NAME. Sessions end within seconds; the batches stay, and nobody sees them on the page any more."""
    Users(kept_in(results)).remove(name)
    click.echo(f"{name} can sign in no more")


def _password() -> str:
    """A password that a person types twice, or a line of standard input. Never an argument: all would see those."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise Permanent("no password came on standard input")
    return line
