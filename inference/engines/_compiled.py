"""Keeps what an engine compiled for this machine beside the artefact, for the next process."""

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
    """The folder for compiled files: one that an earlier process filled, or an empty one that is kept after the block.

    It lies in the artefact's folder, and is deleted with it. `made_for` names everything else that the compiled files
    depend on: the engine's version, the processor, the options. Each combination has its own folder. The folder gets
    its name when it is complete, even if many processes start at once. None if nothing can be kept: the artefact is
    not complete yet, or its folder is not writable.
    """
    kept = artefact / f"compiled-{hashlib.sha256(repr(made_for).encode()).hexdigest()[:16]}"
    if kept.is_dir():
        yield kept
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
        scratch.chmod(artefact.stat().st_mode & 0o777)  # for every user of the models; mkdtemp's is for one
        with contextlib.suppress(OSError):  # another process was faster
            scratch.rename(kept)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
