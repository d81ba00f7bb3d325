"""`shoal batches`: the batches that were sent from here."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from inference.photo_folders import readable
from shoal import settings
from shoal.errors import NotFound, Permanent, Retryable
from shoal.prices import dollars
from shoal_cli._accounts._chosen_key import key_option
from shoal_cli._batches import _sent
from shoal_cli._batches._sent import Sent
from shoal_cli._client import Client

COLUMNS = ("batch", "sent", "photos", "done", "failed", "cancelled", "queued", "state", "cost", "folder")
NO_ANSWER = "no answer"
GONE = "gone"
REFUSED = "refused"


@click.command(short_help="List the batches that were sent from here.")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="The newest N.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each batch, a line each.")
@key_option()
def command(last: int, as_json: bool) -> None:
    """List the batches that `shoal classify` sent, the newest first.

    They are kept in the state folder (SHOAL_STATE_DIR), or where there is none in ~/.local/state/shoal.

    `shoal results BATCH` shows the results of one, `shoal cancel BATCH` cancels what waits. The state is "refused"
    where people have to sign in and no key is given (--key, SHOAL_API_KEY), and "gone" when the Shoal does not know the
    batch.
    """
    chosen = settings.load()
    rows = [_row(sent) for sent in _sent.newest(chosen, last)]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    if not rows:
        where = f"no batch was sent with the state folder {chosen.state_dir.absolute()} yet"
        click.echo(f"{where}: run this where you sent them, or set SHOAL_STATE_DIR", err=True)
        return
    table = Table(box=None)
    for name in COLUMNS:
        table.add_column(name, no_wrap=name == "batch", overflow="fold")
    for row in rows:
        shown = row | {"cost": row["cost"] and dollars(row["cost"]["dollars"], 2)}
        table.add_row(*("" if shown[name] is None else str(shown[name]) for name in COLUMNS))
    # In a pipe no column is cut: a program may read it.
    Console(highlight=False, width=None if sys.stdout.isatty() else 400).print(table)


def _row(sent: Sent) -> dict[str, Any]:
    told = _told(sent)
    state = told.get("state", GONE)
    folder = readable(_folder(sent)) if sent.paths else ""
    known = {
        "batch": sent.batch,
        "sent": datetime.fromtimestamp(sent.at).strftime("%Y-%m-%d %H:%M:%S"),
        "photos": told.get("total", len(sent.paths)),
        "state": state,
        "folder": folder,
        "page": sent.page,
    }
    return known | {name: told.get(name) for name in ("done", "failed", "cancelled", "queued", "cost")}


def _folder(sent: Sent) -> Path:
    """The folder that all its photos are in."""
    return Path(os.path.commonpath([Path(path).parent for path in sent.paths]))


def _told(sent: Sent) -> dict[str, Any]:
    """The summary of a batch; only its state when the Shoal does not know it, refuses or does not answer."""
    try:
        return Client(sent.address).batch(sent.batch)
    except Retryable:
        return {"state": NO_ANSWER}
    except NotFound:
        return {"state": GONE}
    except Permanent:
        return {"state": REFUSED}
