"""Where an engine keeps what it made of an artefact for this machine, so that it need not be made again."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.store import CARD


@contextmanager
def compiled_folder(artefact: Path, *made_for: str) -> Iterator[Path | None]:
    """A folder for what is compiled: filled by an earlier process, or empty and kept when the block ends.

    It lies in the artefact's folder and goes with it. `made_for` names all that the compiled form depends on besides
    (the engine's version, the processor, the options): each has a folder of its own. It appears whole, under its name,
    however many processes start at once. None where nothing can be kept: the artefact is still being made, or its
    folder is not this user's to write.
    """
    place = artefact / f"compiled-{hashlib.sha256(repr(made_for).encode()).hexdigest()[:16]}"
    if place.is_dir():
        yield place
        return
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".compiled-", dir=artefact)) if (artefact / CARD).exists() else None
    except OSError:
        scratch = None
    if scratch is None:
        yield None
        return
    try:
        yield scratch
        with contextlib.suppress(OSError):  # another process was first
            scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
