"""`shoal set`: change settings of the running controller."""

from __future__ import annotations

import click

from shoal import settings
from shoal.errors import SettingsError


@click.command()
@click.argument("assignments", nargs=-1, required=True, metavar="NAME=VALUE...")
def command(assignments: tuple[str, ...]) -> None:
    """Change settings while the controller runs: `shoal set SHOAL_MAX_INSTANCES=2`.

    The values are checked, written to the controller's own file (SHOAL_ENV_FILE, or settings.env in SHOAL_STATE_DIR)
    and read by the controller at once. An empty value removes the line. A wrong value, or one that needs a restart,
    changes nothing. `shoal settings` lists all settings and says which a reload takes.
    """
    for sentence in settings.change(dict(map(_split, assignments))):
        click.echo(sentence)


def _split(assignment: str) -> tuple[str, str]:
    name, equals, value = assignment.partition("=")
    if not equals:
        raise SettingsError(f"{assignment!r}: expected NAME=VALUE, for example SHOAL_MAX_INSTANCES=2")
    return name.strip().upper(), value.strip()
