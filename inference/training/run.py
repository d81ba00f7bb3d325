"""Starts a training in a child process, and puts the finished model into the cache. One training per name at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from inference import engines, store
from inference.preparing import prepare, subprocess_task
from inference.preparing.sources import Say
from inference.training import dataset
from inference.training.recipe import Recipe, TrainingRequest
from shoal.errors import NotFound, Permanent, ShoalError

_SCRATCH = "scratch-"


def train(
    recipe: Recipe,
    source: Path,
    engine: str,
    cache_dir: Path,
    photos: list[Path],
    limits: tuple[int, int],
    listen: Callable[[dict[str, Any]], None],
    replace: bool = False,
    command: str = "",
) -> dict[str, Any]:
    """Train on the dataset in `source`, and put the model into the cache under the recipe's name.

    photos:  to check the backbone with, if it must be prepared first.
    limits:  pixels and bytes; larger images are skipped.
    listen:  is called with {"say": text} and {"step": text, "at": number, "of": number, "note": optional text}.
    replace: whether to replace a model of that name.
    command: for the report: how the training was asked for.

    Returns {"folder": path, "accuracy": text, "too_few": text, "none_of_these": text, "device": text,
    "skipped": [text], "agreement": see `agreement.measure`}, and "no_report": the reason, if the model is there but its
    report could not be written.
    Raises Retryable or Permanent, whose text is one line and says what to do. A training that ends before its model is
    finished changes no model in the cache.
    """
    engines.by_name(engine)  # reports a wrong name before anything is done
    home = cache_dir / "models" / recipe.name
    _check_free(home, replace)
    for note in dataset.find(source).notes:
        listen({"say": note})
    if recipe.backbone:
        _prepare_backbone(recipe, engine, cache_dir, photos, lambda text: listen({"say": text}))
    with _workspace(cache_dir, recipe.name) as (scratch, kept):
        request = TrainingRequest(
            recipe, source.resolve(), engine, cache_dir.resolve(), scratch, kept, *limits, command
        )
        done = _learn(request, home, replace, listen)
    return {"folder": str(home), **done}


def _learn(
    request: TrainingRequest, home: Path, replace: bool, listen: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Train in the child process. Put the model into `home` as soon as it is finished, and its report when it is."""
    made: dict[str, Any] = {}

    def keep(fields: dict[str, Any]) -> None:
        if "made" not in fields:
            listen(fields)
            return
        _check_free(home, replace)
        home.parent.mkdir(parents=True, exist_ok=True)
        store.put_in_place(request.made, home)
        made.update(fields["made"])
        listen({"say": "the model is kept; writing its report"})

    try:
        subprocess_task.ask("inference.training", request.to_json(), keep)
        request.report.rename(home / "report")
    except (ShoalError, OSError, KeyboardInterrupt) as error:
        if not made:
            raise
        made["no_report"] = str(error) or "stopped"
    return made


def _check_free(home: Path, replace: bool) -> None:
    if home.exists() and not replace:
        raise Permanent(f"there is a model {home.name} already: choose another name, or replace it (--replace)")


def _prepare_backbone(recipe: Recipe, engine: str, cache_dir: Path, photos: list[Path], say: Say) -> None:
    """Prepare the backbone if its weights are missing."""
    with suppress(NotFound):
        wanted = store.model(recipe.backbone, cache_dir)
        if not wanted.task.startswith("classify"):
            raise Permanent(f"{wanted.title} does not classify, so it cannot be a backbone")
        if store.ready(store.model_folder(wanted, cache_dir, None) / store.WEIGHTS):
            return
    found = prepare.prepare(recipe.backbone, engine, cache_dir, None, photos, say, again=True)
    if found.notice:
        raise Permanent(f"no backbone: {found.notice}; --backbone {found.model.name} is there")


@contextmanager
def _workspace(cache_dir: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """Lock the name. Yields an empty folder in the cache, and the file that keeps features."""
    from filelock import FileLock, Timeout

    folder = cache_dir / "training" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise Permanent(f"another process trains {name} at this moment: wait for it, or choose another name") from None
    except OSError as error:
        raise Permanent(
            f"cannot write in {folder} ({error.strerror}): set SHOAL_CACHE_DIR to a folder of yours"
        ) from error
    try:
        for leftover in folder.glob(f"{_SCRATCH}*"):  # of a process that was killed, because the lock is ours
            shutil.rmtree(leftover, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
        try:
            yield scratch, folder / "features.npz"
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    finally:
        lock.release()
