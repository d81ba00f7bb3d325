"""What of a state folder a backup takes, and in which order, so that what is copied while Shoal runs fits together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# Each start makes these anew, or they belong to processes. Instances end with their host, and their images with them.
_NOT_KEPT = frozenset(
    PurePosixPath(part)
    for part in (
        *("env", "logs", "image", "settings-in-force.json", "photos-queued", "page-address"),
        *("cloud/instances", "cloud/images", "cloud/tmp", "cloud/lock", "cloud/ministack.pid"),
    )
)
_UNFINISHED = (".draft", ".tmp", ".lock")
_HIDDEN = "."  # files that are about to get another name begin with it
_NEW = ".new-"  # an object of `shoal serve` that is being written
# Beside each object of a bucket the embedded cloud keeps its description, which it writes second.
_DESCRIPTION = ".meta.json"
_BUCKETS = PurePosixPath("cloud/services/s3")
_SERVED = PurePosixPath("served")

Together = tuple[Path, ...]


def files(folder: Path) -> Iterator[Together]:
    """The files to copy, in this order: queues and all else, results, photos. A tuple: files that must fit together.

    A photo is stored before its message is sent and before its result is written. So each message and each result that
    is copied has its photo in the copy. A photo without a message is queued again by the sweeper.
    """
    results: list[Path] = []
    photos: list[Path] = []
    for part in _outside_buckets(folder):
        if _is_bucket(part):
            (results if part.name.endswith(("results", "-out-bucket")) else photos).append(folder / part)
        else:
            yield from ((folder / part / name,) for name in _names(folder / part) if _is_kept(part, name))
    for bucket in (*results, *photos):
        described = not bucket.is_relative_to(folder / _SERVED)
        for place, folders, _ in os.walk(bucket):
            folders.sort()
            yield from _objects(Path(place), described)


def any_state(folder: Path) -> bool:
    """Whether the folder holds something that a backup would take."""
    return next(files(folder), None) is not None


def _outside_buckets(folder: Path) -> Iterator[PurePosixPath]:
    """The folders of the state, those of the buckets too, but nothing in a bucket."""
    for place, names, _ in os.walk(folder):
        part = PurePosixPath(Path(place).relative_to(folder).as_posix())
        names[:] = [] if _is_bucket(part) else sorted(name for name in names if part / name not in _NOT_KEPT)
        yield part


def _is_bucket(part: PurePosixPath) -> bool:
    return part.parent.parent == _BUCKETS or part in (_SERVED / "results", _SERVED / "photos")


def _is_kept(part: PurePosixPath, name: str) -> bool:
    return not name.endswith(_UNFINISHED) and not name.startswith(_HIDDEN) and part / name not in _NOT_KEPT


def _objects(folder: Path, described: bool) -> Iterator[Together]:
    """The objects of a folder. Their names are anybody's: only what stands beside a file says what it is."""
    names = _names(folder)
    known = set(names)
    for name in names:
        about = f"{name}{_DESCRIPTION}"
        if not described and not name.startswith(_NEW):
            yield (folder / name,)
        elif about in known:
            yield folder / name, folder / about


def _names(folder: Path) -> list[str]:
    """The regular files of a folder; none when it is gone."""
    try:
        with os.scandir(folder) as found:
            return sorted(one.name for one in found if one.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return []
