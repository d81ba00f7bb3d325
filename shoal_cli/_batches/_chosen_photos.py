"""The photos that the PATHS of a command name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from inference.decoding import photo_formats
from inference.photo_folders import is_system_file, list_files, readable, tell_leftovers
from shoal.errors import Permanent
from shoal_cli._batches._counted import counted

SUFFIXES_TOLD = 6


def chosen_photos(paths: Sequence[Path]) -> tuple[list[Path], str]:
    """The photos to send, and in words what is left out. A file that is named is sent whatever its suffix is.

    A shell's * also names files such as Thumbs.db, so those are left out even when they are named.
    """
    photos: list[Path] = []
    suffixes: Counter[str] = Counter()
    leftovers = 0
    for path in paths:
        if is_system_file(path.name):
            leftovers += 1
        elif path.is_dir():
            inside = list_files(path)
            leftovers += inside.leftovers
            photos += filter(is_photo, inside.files)
            suffixes += skipped(inside.files)
        else:
            photos.append(path)
    told = tell_left_out(leftovers, suffixes)
    if not photos:
        where = ", ".join(map(readable, paths))
        raise Permanent(f"there are no photos in {where}" + (f" ({told})" if told else ""))
    return photos, told


def is_photo(file: Path) -> bool:
    """Whether a file of a folder is one by its suffix."""
    return file.suffix.lower() in photo_formats.SUFFIXES


def skipped(files: Iterable[Path]) -> Counter[str]:
    """The suffixes, in small letters, of those that are no photos."""
    return Counter(file.suffix.lower() for file in files if not is_photo(file))


def tell_left_out(leftovers: int, suffixes: Counter[str]) -> str:
    """What was left out, in one line; empty for nothing."""
    told = [tell_leftovers(leftovers)] if leftovers else []
    if suffixes:
        names = ", ".join(readable(suffix) or "no suffix" for suffix, _ in suffixes.most_common(SUFFIXES_TOLD))
        told.append(f"{counted(suffixes.total(), 'other file')} skipped by suffix ({names})")
    return "; ".join(told)
