"""Where users and keys are kept: the output bucket, or the folder of `shoal serve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from shoal import settings
from shoal.aws import connect_to_running
from shoal.buckets.folder_store import FolderStore
from shoal.errors import Permanent
from shoal.ports import ObjectStore

F = TypeVar("F", bound=Callable[..., Any])

RESULTS = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of a `shoal serve`; without it, the Shoal of the settings is meant.",
)


def kept_in(results: Path | None) -> ObjectStore:
    """The output bucket, or the folder of `shoal serve` that takes its place. Raises Permanent when there is none."""
    if results is None:
        return connect_to_running(settings.load_with_env_file()).outputs
    place = results / "results"
    if not place.is_dir():
        raise Permanent(f"{place} is no folder of `shoal serve`: start it once, and name the folder of its --results")
    return FolderStore(place)
