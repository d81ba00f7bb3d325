"""Learns from which confidence on the small model's label can stand, without asking the pool's model.

The threshold is learned on some photos and judged on others. Both models' best labels are compared: whether they are
right is another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import engines, store
from inference.preparing import agreement
from inference.preparing.sources import Say
from shoal.errors import Permanent

LOST = 0.02  # of the photos may keep another label than that of the pool's model
FIELD = "unsure"  # of the card's agreement
_EDGES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the steps in which the agreement is told
_LEAST = 60  # photos to learn on


def learn(
    cache_dir: Path, engine: str, pool: str, learning: Sequence[Path], judging: Sequence[Path], say: Say
) -> dict[str, Any]:
    """Write into the card of the browsers' model, and return, what was learned beside the model `pool`.

    Returns {"model": pool, "threshold", "learned_on": photos, "judged_on": photos, "stay", "agree": of these photos,
    "steps": [[confidence from which on, share of the labels that agree], ...], for all photos}.

    Raises NotFound if a model is not prepared, Permanent for too few photos and for models of different classes.
    """
    if len(learning) < _LEAST or not judging:
        raise Permanent("there are too few photos to learn from which confidence on a label can stand")
    small, large = (store.find(name, engine, cache_dir) for name in (store.BROWSER_MODEL, pool))
    if (small.model.task, small.model.labels) != (large.model.task, large.model.labels):
        raise Permanent(f"{large.model.title} has other classes than {small.model.title}")
    say(f"comparing {small.model.title} with {large.model.title} on {len(learning) + len(judging)} photos")
    sure, same = _compared(small, large, [*learning, *judging])
    count = len(learning)
    threshold = least_sure(sure[:count], same[:count])
    stay = sure[count:] >= threshold
    found = {
        "model": pool,
        "threshold": round(threshold, 4),
        "learned_on": count,
        "judged_on": len(judging),
        "stay": int(stay.sum()),
        "agree": int((~stay | same[count:]).sum()),
        "steps": steps(sure, same),
    }
    folder = store.browser_folder(store.BROWSER_MODEL, cache_dir)
    card = store.ready(folder)
    if card is None:
        raise Permanent(f"{folder} is not whole: run `shoal models prepare --browser`")
    replace(card, agreement=card.agreement | {FIELD: found}).write(folder)
    return found


def _compared(
    small: store.Artefact, large: store.Artefact, photos: Sequence[Path]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The small model's confidence for each photo, and whether its label is that of the large one."""
    rows = []
    for one in (small, large):
        loaded = engines.by_name(one.engine).load(one.model, one.folder, precision=one.precision)
        rows.append(np.concatenate([loaded.infer(seen.tensor)[0] for seen in agreement.decoded(one.model, photos)]))
    return rows[0].max(axis=1), rows[0].argmax(axis=1) == rows[1].argmax(axis=1)


def least_sure(sure: NDArray[np.float32], same: NDArray[np.bool_]) -> float:
    """The least confidence with which at most LOST of other photos will keep another label, by these.

    A share that is learned on few photos is told with two more, one each way, as in `steps` (the rule of succession,
    Laplace). 1 if there is none: then only what has a confidence of 1 stays.
    """
    allowed = max(0, int(LOST * (len(sure) + 2) - 1))
    wrong = np.sort(sure[~same])[::-1]
    if len(wrong) <= allowed:
        return 0.0
    # Between the surest photo that would be one too many and the next surer one, whichever label that has.
    limit = float(wrong[allowed])
    surer = sure[sure > limit]
    return (limit + float(surer.min())) / 2 if len(surer) else 1.0


def steps(sure: NDArray[np.float32], same: NDArray[np.bool_]) -> list[list[float]]:
    """Of each step of the confidence its start and the share that agrees, by the rule of succession."""
    told = []
    for low, high in zip(_EDGES, (*_EDGES[1:], 2.0), strict=True):
        inside = same[(sure >= low) & (sure < high)]
        told.append([low, round((int(inside.sum()) + 1) / (len(inside) + 2), 4)])
    return told
