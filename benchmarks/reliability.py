"""`python -m benchmarks.reliability`: are the model's probabilities right? Draws docs/images/reliability.png.

It uses the photos with a known label. They are few, so the figure shows the uncertainty. For the temperature that fits
best (Guo et al. 2017, arXiv:1706.04599) it prints the range that 95 % of resampled sets of photos give.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from benchmarks import photos
from inference import engines, store
from inference.model import labels
from inference.tasks import classify
from shoal.settings import load

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "reliability.png"
BINS = (0.0, 0.7, 0.9, 0.97, 0.99, 1.0)
TEMPERATURES = np.exp(np.linspace(np.log(0.4), np.log(2.5), 41))
RESAMPLED = 500

_MANY = 1 << 40  # the photos are our own: no limit is needed


def main() -> None:
    """Measure, print and draw."""
    settings = load()
    artefact = store.find(settings.model, settings.engine, settings.cache_dir, precision=settings.precision)
    known = photos.labelled(settings.cache_dir) | photos.mistaken(settings.cache_dir)
    loaded = engines.by_name(artefact.engine).load(artefact.model, artefact.folder)
    found = np.concatenate(
        [loaded.infer(classify.decode(artefact.model, path.read_bytes(), _MANY).tensor)[0] for path in known]
    )
    names = [name for _, name in labels(artefact.model.labels)]
    truth = np.array([[name in right for name in names] for right in known.values()])
    surest = found.max(axis=1)
    right = truth[np.arange(len(found)), found.argmax(axis=1)]
    print(f"{artefact.model.title} in {artefact.card.precision}: {right.sum()} of {len(right)} photos right, ", end="")
    print(f"mean probability of the best label {surest.mean():.3f}")
    best = temperature(found, truth, range(len(found)))
    random = np.random.default_rng(0)
    others = [temperature(found, truth, random.integers(0, len(found), len(found))) for _ in range(RESAMPLED)]
    low, high = np.percentile(others, [2.5, 97.5])
    print(f"best temperature {best:.2f}, 95 % of resampled sets give {low:.2f} to {high:.2f}")
    draw(surest, right, f"{artefact.model.title}, {artefact.card.precision}, {len(right)} photos")


def temperature(
    found: NDArray[np.float32], truth: NDArray[np.bool_], which: Sequence[int] | NDArray[np.int64]
) -> float:
    """The temperature in TEMPERATURES that gives the right labels the best likelihood."""
    logits = np.log(np.clip(found[which], 1e-12, 1))

    def loss(degrees: float) -> float:
        scaled = np.exp(logits / degrees)
        correct = (scaled * truth[which]).sum(axis=1) / scaled.sum(axis=1)
        return float(-np.log(np.clip(correct, 1e-12, 1)).mean())

    return float(min(TEMPERATURES, key=loss))


def interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    z = 1.96
    middle = (hits + z * z / 2) / (of + z * z)
    half = z * np.sqrt(hits * (of - hits) / of + z * z / 4) / (of + z * z)
    return max(0.0, middle - half), min(1.0, middle + half)


def draw(surest: NDArray[np.float32], right: NDArray[np.bool_], title: str) -> None:
    """How often the best label is right, by its probability."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 4.5), dpi=110)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="honest")
    edges = np.array(BINS)
    bins = np.clip(np.digitize(surest, edges) - 1, 0, len(edges) - 2)
    for at in np.unique(bins):
        inside = bins == at
        hits, of = int(right[inside].sum()), int(inside.sum())
        low, high = interval(hits, of)
        x, y = float(surest[inside].mean()), hits / of
        axes.errorbar(x, y, yerr=[[y - low], [high - y]], fmt="o", color="tab:blue", capsize=3)
        axes.annotate(f"{hits}/{of}", (x, low), textcoords="offset points", xytext=(0, -11), ha="center", fontsize=8)
    axes.set(xlim=(0.3, 1.03), ylim=(0, 1.05), xlabel="probability of the best label", ylabel="share that is right")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="upper left", frameon=False)
    figure.tight_layout()
    figure.savefig(PICTURE)


if __name__ == "__main__":
    main()
