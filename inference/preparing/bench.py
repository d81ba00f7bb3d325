"""Measures an artefact in a new process, as in a worker: `python -m inference.preparing.bench <request>`."""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from inference import engines, store
from inference.preparing import subprocess_task
from inference.store import Artefact

BATCHES = (1, 8)

_ROUNDS = 9
_PAGE = os.sysconf("SC_PAGE_SIZE")


def measure(artefact: Artefact, cache_dir: Path) -> dict[str, Any]:
    """Measure one artefact.

    Returns {"start": seconds from the start of the process to the first answer, "memory": bytes resident after that,
    "own": the part of them that is not shared with other processes, "rates": {batch size: median images/s}}.
    """
    names = [artefact.model.name, artefact.engine, str(artefact.folder), artefact.precision, str(cache_dir.resolve())]
    request = [*names, time.time()]
    return subprocess_task.ask("inference.preparing.bench", json.dumps(request), lambda _: None)


def _work(asked: str, _: subprocess_task.Tell) -> dict[str, Any]:
    name, engine, folder, precision, cache, asked_at = json.loads(asked)
    model = store.model(name, Path(cache))
    loaded = engines.by_name(engine).load(model, Path(folder), precision=precision)
    picture = np.random.default_rng(0).integers(0, 256, (1, model.side, model.side, 3), np.uint8)
    loaded.infer(picture)
    start = time.time() - asked_at
    resident, shared = (int(pages) * _PAGE for pages in Path("/proc/self/statm").read_text().split()[1:3])
    rates = {size: _rate(loaded, np.repeat(picture, size, axis=0)) for size in BATCHES}
    return {"start": start, "memory": resident, "own": resident - shared, "rates": rates}


def _rate(loaded: engines.Loaded, batch: Any) -> float:
    loaded.infer(batch)
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        loaded.infer(batch)
        seconds.append(time.perf_counter() - began)
    return len(batch) / statistics.median(seconds)


if __name__ == "__main__":
    subprocess_task.answer(_work)
