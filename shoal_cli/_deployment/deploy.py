"""`shoal deploy`: make or change a Shoal on AWS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from shoal.deployment.choices import Choices
from shoal.settings import Settings
from shoal_cli._deployment._first_photo import USER, label_first_photo, wait_for_page
from shoal_cli._deployment._options import (
    choices_after,
    choices_of,
    choices_options,
    deployed_settings,
    explaining,
    forget_option,
)


@click.command()
@choices_options
@forget_option
@click.option("--roll-back", is_flag=True, help="Undo the last change that failed or still runs, and nothing else.")
@click.option("--new-password", is_flag=True, help="Make a new password for the page.")
@click.option("--wait/--no-wait", default=True, help="Wait for the page, and have a first photo labelled.")
@click.option("--pause", default=2.0, hidden=True)
def command(forget: bool, roll_back: bool, new_password: bool, wait: bool, pause: float, **options: Any) -> None:
    """Make a Shoal on AWS, or change it. Safe to repeat.

    The settings and options say what it has; an option that is not given is that of the last time. After a failure or
    an interruption, the same command goes on from there.
    """
    from shoal.aws.deploying.deployment import Deployment

    chosen = deployed_settings()
    if roll_back:
        with explaining("Nothing more was done"):
            state = Deployment(chosen, choices_of(options), click.echo, pause).roll_back()
        click.echo(f"Rolled back: {state.status or 'nothing is left of the stack'}.")
        return
    with explaining("Nothing was done"):
        choices = choices_of(options) if forget else choices_after(chosen, options)
    with explaining("`shoal deploy` again goes on from there, `shoal deploy --roll-back` undoes it"):
        done = Deployment(chosen, choices, click.echo, pause).deploy(new_password)
    click.echo("Nothing was to change." if not done.changed else f"The stack {chosen.prefix} is complete.")
    if done.is_new:
        click.echo(f"Sign in as {USER} with the password {done.password} - no later deployment prints it.")
        click.echo("`shoal users add NAME` makes users, and `shoal keys add NAME` keys for programs.")
    if not done.page:
        return
    _tell_name(done.outputs, choices)
    if wait:
        _try_page(done.page, done.password, done.has_worker_image, chosen)
    else:
        click.echo(f"Page: {done.page}")


def _tell_name(outputs: Mapping[str, str], choices: Choices) -> None:
    """Say where the domain must point, where no zone of Route 53 does that."""
    if choices.domain and not choices.zone:
        click.echo(f"Let {choices.domain} point to {outputs.get('NameTarget', '')}.")


def _try_page(page: str, password: str, has_workers: bool, chosen: Settings) -> None:
    click.echo(f"Waiting for the page {page} (its instance installs Shoal: some minutes) ...")
    seconds = wait_for_page(page)
    click.echo(f"Page: {page} (after {seconds:.0f} s)")
    if not has_workers:
        click.echo(f"No photo was sent: there is no machine image {chosen.image} yet. `shoal bake` makes one.")
        return
    click.echo(f"The first photo: {label_first_photo(page, password)}")
