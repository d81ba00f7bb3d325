"""Keeps what an engine compiled for this machine beside the artefact, for the next process."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.store import CARD
from shoal.errors import Permanent

log = logging.getLogger(__name__)

SUMS = "sums.json"  # beside the compiled files: name -> CRC-32
PART_BYTES = 1 << 20
MOST_ENDS = 5  # of processes that compiled anew: some may have been killed, by a stop of several machines for one


@contextmanager
def compiled_folder(artefact: Path, *made_for: str) -> Iterator[Path | None]:
    """The folder for compiled files: one that an earlier process filled, or an empty one that is kept after the block.

    It lies in the artefact's folder, and is deleted with it. `made_for` names everything else that the compiled files
    depend on: the engine's version, the processor, the options. Each combination has its own folder. The folder gets
    its name when it is complete, even if many processes start at once. None if nothing can be kept: the artefact is
    not complete yet, or its folder is not writable.

    An engine may end its process when it reads damaged files, or compute something else without a word. So a folder
    whose files have changed or cannot be read, or in whose block a process ended, is made again. Raises Permanent when
    MOST_ENDS processes ended that made it again.
    """
    kept = artefact / f"compiled-{hashlib.sha256(repr(made_for).encode()).hexdigest()[:16]}"
    with _marked(kept) as usable:
        if usable:
            yield kept
            return
        with _scratch(artefact) as scratch:
            yield scratch
            if scratch is not None:
                (scratch / SUMS).write_text(json.dumps(_sums(scratch)))
                scratch.chmod(artefact.stat().st_mode & 0o777)  # for every user of the models; mkdtemp's is for one
                with contextlib.suppress(OSError):  # another process was faster
                    scratch.rename(kept)


@contextmanager
def _scratch(artefact: Path) -> Iterator[Path | None]:
    """A folder that is deleted after the block unless it has another name by then; None where none can be made."""
    try:
        made = Path(tempfile.mkdtemp(prefix=".compiled-", dir=artefact)) if (artefact / CARD).exists() else None
    except OSError:
        made = None
    try:
        yield made
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _marked(kept: Path) -> Iterator[bool]:
    """Mark for the length of the block that this process uses a folder, and look whether another one ended so.

    Yields whether the folder is there and whole.

    The mark is a locked file beside the folder: the lock ends with the process, however it ends.
    """
    ended = [mark for mark in kept.parent.glob(f".{kept.name}-*") if _is_of_the_dead(mark)]
    there = kept.is_dir()
    usable = there and not ended and _is_whole(kept)
    if there and not usable:
        why = "a process ended while it read it" if ended else "its files have changed, or cannot be read"
        log.warning("%s is made again: %s", kept, why)
        _remove(kept)
        _unlink(ended)
    elif len(ended) >= MOST_ENDS:
        _unlink(ended)
        raise Permanent(
            f"the engine ended {len(ended)} processes while it compiled {kept.parent}: look whether this machine has "
            "the memory for it, run `shoal models prepare --again`, or try another SHOAL_ENGINE"
        )
    try:
        file, mark = _lock(kept)
    except OSError:  # nothing can be kept, and nothing marked
        yield usable
        return
    try:
        yield usable
        _unlink(ended)
    finally:
        _unlink([mark])
        os.close(file)


def _lock(kept: Path) -> tuple[int, Path]:
    """A new mark, locked before it has its name: no other process sees it without its lock."""
    file, made = tempfile.mkstemp(prefix=".mark-", dir=kept.parent)
    fcntl.flock(file, fcntl.LOCK_EX)
    mark = kept.parent / f".{kept.name}-{Path(made).name}"
    Path(made).rename(mark)
    return file, mark


def _is_whole(kept: Path) -> bool:
    """Whether each file that was kept is there as it was. For 26 MB that takes some 20 ms, and it saves 350."""
    try:
        sums = json.loads((kept / SUMS).read_bytes())
        return isinstance(sums, dict) and all(_sum(kept / name) == expected for name, expected in sums.items())
    except (OSError, ValueError):
        return False


def _sums(folder: Path) -> dict[str, int]:
    """The CRC-32 of each file by its name: it finds damage, quicker than a digest that also withstands people."""
    return {one.name: _sum(one) for one in folder.iterdir() if one.is_file() and one.name != SUMS}


def _sum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            found = zlib.crc32(part, found)
    return found


def _is_of_the_dead(mark: Path) -> bool:
    try:
        with mark.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # its process lives, or has just taken it away
    return True


def _remove(kept: Path) -> None:
    """Take the folder away, if this user may: in one step, for others may be about to read it."""
    with contextlib.suppress(OSError):
        aside = Path(tempfile.mkdtemp(prefix=".compiled-", dir=kept.parent))
        try:
            kept.rename(aside)  # an empty folder is replaced
            aside.chmod(0o700)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _unlink(marks: list[Path]) -> None:
    for mark in marks:
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)
