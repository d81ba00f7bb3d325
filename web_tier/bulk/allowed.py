"""Where runs that the page or the API starts may read and write: an operator's lists, empty at first."""

from __future__ import annotations

from collections.abc import Sequence

from runs.run import S3, split_address
from shoal.errors import Permanent
from shoal.settings import Settings
from web_tier.problems import Problem

Place = tuple[str, str]
"""A bucket, and a prefix that ends with a slash or is empty."""


class AllowedPlaces:
    """The lists SHOAL_RUN_SOURCES and SHOAL_RUN_TARGETS."""

    def __init__(self, settings: Settings) -> None:
        self.sources: tuple[Place, ...] = settings.run_source_folders
        self.targets: tuple[Place, ...] = settings.run_target_folders

    def source(self, address: str) -> Place:
        """Bucket and prefix of a source. Raises Problem: 400 for no address, 403 for one that is not allowed."""
        return _checked(address, self.sources, "read", "SHOAL_RUN_SOURCES")

    def target(self, address: str) -> Place:
        """Bucket and prefix of a target. Raises Problem: 400 for no address, 403 for one that is not allowed."""
        return _checked(address, self.targets, "write to", "SHOAL_RUN_TARGETS")

    def may_read(self, bucket: str, key: str) -> bool:
        """Whether an object is in one of the sources."""
        return any(bucket == name and key.startswith(prefix) for name, prefix in self.sources)


def address_of(place: Place) -> str:
    """A place as it is written."""
    return f"{S3}{place[0]}/{place[1]}"


def _checked(address: str, places: Sequence[Place], what: str, setting: str) -> Place:
    try:
        bucket, prefix = split_address(address)
    except Permanent as error:
        raise Problem(400, f"{error}.") from None
    for name, folder in places:
        # Without its slash `2026` would also mean `2026-private`.
        inside = f"{prefix}/" if f"{prefix}/" == folder else prefix
        if bucket == name and inside.startswith(folder):
            return bucket, inside
    listed = f" It allows {', '.join(map(address_of, places))}." if places else ""
    raise Problem(
        403,
        f"Runs from here may not {what} {address[:200]}: the operator has to name it in {setting}.{listed}",
    )
