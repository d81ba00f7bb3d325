"""`python -m benchmarks.privacy`: rebuild sample photos from the activations of nine cuts, and say how close it comes.

Two attacks a cut (see `attack`), each for a set time. The photos are the examples of the page, never a user's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from benchmarks.privacy.attack import KnownHead, Pictures, Rebuilt, decode, invert
from benchmarks.privacy.similarity import psnr, ssim
from inference import keras_net, store
from inference.preparing import agreement, architecture
from inference.preparing import photos as photo_sources
from inference.split import packing
from shoal import settings
from shoal_cli.models import example_photos

CUTS = {
    "mobilenet_v2": ("block_2_add", "block_5_add", "block_12_add", "block_15_add"),
    "resnet50": ("pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block2_out"),
}
ATTACKED = ("cat.jpg", "palace.jpg")
FIGURES = "figures.json"
_GAP = 4  # pixels between pictures


@dataclass(frozen=True)
class Attacked:
    """A model, the pictures that are attacked, and other pictures that the attacker has."""

    head: KnownHead
    whole: Any
    pictures: Pictures
    others: Pictures

    def label(self, picture: Pictures) -> str:
        """The best class of a picture by the whole model, as a number in words."""
        return str(int(np.asarray(self.whole(picture[np.newaxis], training=False)).argmax()))


@click.command()
@click.option("--model", "models", multiple=True, type=click.Choice(list(CUTS)), help="Only the cuts of this model.")
@click.option("--cut", "cuts", multiple=True, help="Only this cut.")
@click.option(
    "--seconds",
    default=240.0,
    show_default=True,
    help="Of a processor, for each of the two attacks on a cut, at most 300.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/privacy"), show_default=True)
def main(models: Sequence[str], cuts: Sequence[str], seconds: float, out: Path) -> None:
    """Attack the cuts; a picture and a line of figures for each. What was found before is kept, cut by cut."""
    _use_one_thread()
    out.mkdir(parents=True, exist_ok=True)
    file = out / FIGURES
    for name, of_model in CUTS.items():
        asked = [cut for cut in of_model if not cuts or cut in cuts]
        if not asked or (models and name not in models):
            continue
        for cut, attacked in _opened(name, asked):
            found = _attack(attacked, min(seconds, 300.0), out / f"{name}-{cut}.jpg")
            kept = json.loads(file.read_text()) if file.exists() else {}
            file.write_text(json.dumps({**kept, f"{name}.{cut}": found}, indent=2) + "\n")
            click.echo(_line(name, cut, found))


def _use_one_thread() -> None:
    keras_net.quiet_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _opened(name: str, cuts: Sequence[str]) -> list[tuple[str, Attacked]]:
    chosen = settings.load()
    model = store.model(name, chosen.cache_dir)
    home = store.model_folder(model, chosen.cache_dir, None)
    net = architecture.load(model, home / store.WEIGHTS)
    whole = architecture.with_preprocessing(model, net)
    examples = {path.name: path for path in example_photos()}
    mine = [examples.pop(one) for one in ATTACKED]
    known = [*examples.values(), *photo_sources.fetch(chosen.cache_dir)]
    pictures, others = (
        np.concatenate([one.tensor for one in agreement.decoded(model, paths)]) for paths in (mine, known)
    )
    return [(cut, Attacked(KnownHead(model, net, cut), whole, pictures, others)) for cut in cuts]


def _attack(attacked: Attacked, seconds: float, picture: Path) -> dict[str, Any]:
    """Run both attacks on what travels: the activations in uint8. Returns the figures, and keeps the pictures."""
    sent = attacked.head.activations(attacked.pictures)
    seen = np.stack([packing.dequantize(*packing.quantize(one)) for one in sent])
    decoded = decode(attacked.head, seen, attacked.others, seconds)
    rebuilt = {"decoder": decoded, "inversion": invert(attacked.head, seen, decoded.pictures, seconds)}
    _draw([attacked.pictures, *(one.pictures for one in rebuilt.values())], picture)
    return {name: _figures(attacked, one) for name, one in rebuilt.items()}


def _figures(attacked: Attacked, rebuilt: Rebuilt) -> dict[str, Any]:
    pairs = list(zip(attacked.pictures, rebuilt.pictures, strict=True))
    return {
        "ssim": [round(ssim(one, other), 3) for one, other in pairs],
        "psnr": [round(psnr(one, other), 1) for one, other in pairs],
        "same_label": [attacked.label(one) == attacked.label(other) for one, other in pairs],
        "steps": rebuilt.steps,
        "seconds": round(rebuilt.seconds),
    }


def _draw(columns: Sequence[Pictures], file: Path) -> None:
    """A row for each photo: the original, and what the attacks made of it."""
    side = columns[0].shape[1]
    step = side + _GAP
    sheet = Image.new("RGB", (step * len(columns) - _GAP, step * len(columns[0]) - _GAP), "white")
    for x, column in enumerate(columns):
        for y, picture in enumerate(column):
            sheet.paste(Image.fromarray(picture), (x * step, y * step))
    sheet.save(file, "JPEG", quality=80)


def _line(model: str, cut: str, found: dict[str, Any]) -> str:
    told = [
        f"{name} SSIM {np.mean(one['ssim']):.2f}, PSNR {np.mean(one['psnr']):.1f} dB, same label "
        f"{sum(one['same_label'])} of {len(one['same_label'])} ({one['steps']} steps, {one['seconds']} s)"
        for name, one in found.items()
    ]
    return f"{model} {cut}: {'; '.join(told)}"


if __name__ == "__main__":
    main()
