"""The `shoal` command. Each file of this package and of the folders in PACKAGES has a command or group, `command`."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import click

from shoal import __version__, plugins
from shoal.errors import ShoalError
from shoal.settings import load, misspelt

PACKAGES = (
    "shoal_cli",
    "shoal_cli._accounts",
    "shoal_cli._batches",
    "shoal_cli._deployment",
    "shoal_cli._keeping",
    "shoal_cli._runs",
    "shoal_cli._simulations",
    "shoal_cli._splitting",
)


class Commands(click.Group):
    """The commands in the files of the folders. Imports only the file of the command that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        commands = [
            # Literals, so that `make test-changed` can read what this leads to.
            *plugins.available("shoal_cli"),
            *plugins.available("shoal_cli._accounts"),
            *plugins.available("shoal_cli._batches"),
            *plugins.available("shoal_cli._deployment"),
            *plugins.available("shoal_cli._keeping"),
            *plugins.available("shoal_cli._runs"),
            *plugins.available("shoal_cli._simulations"),
            *plugins.available("shoal_cli._splitting"),
        ]
        return sorted(name.replace("_", "-") for name in commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        name = cmd_name.replace("-", "_")  # as its file is called
        folder = next((one for one in PACKAGES if name in plugins.available(one)), None)
        command: click.Command | None = plugins.load(name, folder, "command") if folder else None
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is asked for. Raises UsageError, which names commands of a similar name."""
        if args and self.get_command(ctx, args[0]) is None:
            question = plugins.meant(args[0], self.list_commands(ctx))
            ctx.fail(f"No such command {args[0]!r}. {question}".strip())
        return super().resolve_command(ctx, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="shoal")
def shoal() -> None:
    """Label images with a pool of machines that grows and shrinks with the work."""


def main() -> None:
    """Run the command. A known error is shown in one line that says what to do."""
    try:
        for sentence in misspelt().values():
            print(f"shoal: {sentence}", file=sys.stderr)
        shoal(prog_name="shoal")
    except ShoalError as error:
        sys.exit(f"shoal: {error}")
    except OSError as error:
        told = _in_words(error)
        if not told:
            raise
        sys.exit(f"shoal: {told}")


def _in_words(error: OSError) -> str:
    """What is wrong with the disk or the state folder; empty for other errors."""
    if error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or 'no space left'}): make room and start again"
    folder = load().state_dir
    if error.filename and Path(os.fsdecode(error.filename)).absolute().is_relative_to(folder.absolute()):
        return f"SHOAL_STATE_DIR={folder} cannot be used ({error.strerror}): set it to a folder that can be made"
    return ""


if __name__ == "__main__":
    main()
