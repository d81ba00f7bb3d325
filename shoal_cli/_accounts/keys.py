"""`shoal keys`: the keys of programs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from shoal.accounts.api_keys import SCOPES, ApiKeys
from shoal.accounts.users import Users
from shoal.clock import SystemClock
from shoal.errors import Permanent
from shoal_cli._accounts._store import RESULTS, kept_in

FORM = "{:<14}{:<24}{:<20}{:<20}{:<18}{}"


@click.group(short_help="List, make and revoke the API keys of programs.")
def command() -> None:
    """API keys: how programs say who they are where SHOAL_SIGN_IN asks for it."""


@command.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=("label", "read"),
    show_default=True,
    help="What it may do; more than one can be given.",
)
@click.option("--user", default="", help="Whose batches it makes and reads; without it the key has batches of its own.")
@RESULTS
def add(name: str, scopes: tuple[str, ...], user: str, results: Path | None) -> None:
    """Make a key; NAME says what it is for. The key is printed this once, alone on standard output.

    label: send photos. read: read results. operate: the fleet, dead letters and settings.
    """
    store = kept_in(results)
    owner = Users(store).find(user.strip().lower()) if user else None
    if user and owner is None:
        raise Permanent(f"there is no user {user!r}: `shoal users list` shows all")
    keys = ApiKeys(store, SystemClock())
    key, text = keys.add(name, scopes, *((owner.name, owner.id) if owner else ()))
    click.echo(
        f"The key {key.id} ({', '.join(key.scopes)}). It cannot be shown again; set SHOAL_API_KEY to it:", err=True
    )
    click.echo(text)


@command.command("list")
@RESULTS
def list_(results: Path | None) -> None:
    """List the keys: id, name, scopes, user, and when each was used last."""
    click.echo(FORM.format("id", "name", "scopes", "user", "made", "used"), err=True)
    for key in ApiKeys(kept_in(results), SystemClock()).all():
        used = _time(key.used_at) if key.used_at else "never"
        click.echo(FORM.format(key.id, key.name, ",".join(key.scopes), key.user or "-", _time(key.made_at), used))


@command.command()
@click.argument("key")
@RESULTS
def revoke(key: str, results: Path | None) -> None:
    """Revoke KEY, by its id: programs that have it are refused within seconds. Its batches stay."""
    click.echo(
        f"{ApiKeys(kept_in(results), SystemClock()).revoke(key).name} is revoked; web processes refuse it within 5 s"
    )


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
