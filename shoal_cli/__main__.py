"""The `shoal` command. Each file of this package has one command or group in its attribute `command`."""

from __future__ import annotations

import errno
import sys

import click

from shoal import __version__, plugins
from shoal.errors import ShoalError


class Commands(click.Group):
    """The commands in the files of this package. Imports only the file of the command that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return plugins.available("shoal_cli")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = plugins.load(cmd_name, "shoal_cli", "command")
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="shoal")
def shoal() -> None:
    """Label images with a pool of machines that grows and shrinks with the work."""


def main() -> None:
    """Run the command. A known error is shown in one line that says what to do."""
    try:
        shoal(prog_name="shoal")
    except ShoalError as error:
        sys.exit(f"shoal: {error}")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(f"shoal: the disk is full ({error.filename or 'no space left'}): make room and start again")


if __name__ == "__main__":
    main()
