"""`shoal set`: change settings of the running controller."""

from __future__ import annotations

import os
import subprocess

import click

from inference import store
from shoal import settings
from shoal.errors import SettingsError
from shoal_cli._processes import CODE, PYTHON

MODELS = ("SHOAL_MODEL", "SHOAL_MODELS")


@click.command(short_help="Change settings while the controller runs.")
@click.argument("assignments", nargs=-1, required=True, metavar="NAME=VALUE...")
def command(assignments: tuple[str, ...]) -> None:
    """Change settings while the controller runs: `shoal set SHOAL_MAX_INSTANCES=2`.

    The values are checked, written to the controller's own file (SHOAL_ENV_FILE, or settings.env in SHOAL_STATE_DIR)
    and read by the controller at once. `shoal set SHOAL_MAX_INSTANCES=` removes the line again. A wrong value, or one
    that needs a restart, changes nothing. `shoal settings` lists all settings and says which a reload takes.
    """
    values = dict(map(_split, assignments))
    for name in MODELS:
        _check_models(values.get(name, ""))
    for sentence in settings.change(values, check=ask_a_controller):
        click.echo(sentence)


def _check_models(names: str) -> None:
    """Raise NotFound or SettingsError for a model that is not prepared; workers on AWS have models of their own."""
    chosen = settings.load_with_own_file()
    if chosen.emulated:
        for name in filter(None, map(str.strip, names.split(","))):
            store.find(name, chosen.engine, chosen.cache_dir, None, chosen.precision)


def ask_a_controller() -> None:
    """Let a controller read the settings. Raises SettingsError for what only it can tell, as a policy that is none."""
    command = [*PYTHON, "-m", "controller", "--check"]
    done = subprocess.run(command, env=os.environ | CODE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SettingsError(done.stderr.strip().rpartition("controller: ")[2])


def _split(assignment: str) -> tuple[str, str]:
    name, equals, value = assignment.partition("=")
    if not equals:
        raise SettingsError(f"{assignment!r}: expected NAME=VALUE, for example SHOAL_MAX_INSTANCES=2")
    return name.strip().upper(), value.strip()
