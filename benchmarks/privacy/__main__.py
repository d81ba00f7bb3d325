"""`python -m benchmarks.privacy`: rebuild sample photos from the activations of nine cuts, and say how close it comes.

Two attacks a cut (see `attack`), each for a set time. The photos are the examples of the page, never a user's. What was
found is kept: a cut that was attacked for as long is not attacked again.

    python -m benchmarks.privacy --cut block_12_add --remedy uint4 --remedy noise-0.5
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

from benchmarks.privacy import page as pages
from benchmarks.privacy.attack import KnownHead, Pictures, Rebuilt, decode, invert
from benchmarks.privacy.remedy import NONE, Remedy, agreeing
from benchmarks.privacy.similarity import psnr, ssim
from inference import engines, keras_net, store
from inference.engines import Loaded
from inference.preparing import agreement, architecture
from inference.preparing import photos as photo_sources
from shoal import settings
from shoal_cli.models import example_photos

CUTS = {
    "mobilenet_v2": ("block_2_add", "block_5_add", "block_12_add", "block_15_add"),
    "resnet50": ("pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block2_out"),
}
ATTACKED = ("cat.jpg", "palace.jpg")
FIGURES = "figures.json"
MOST_SECONDS = 300.0  # of an attack
ATTACKS = ("decoder", "inversion")
POOL = "resnet50"  # the pool's own model, which every Shoal has
_GAP = 4  # pixels between pictures


@dataclass(frozen=True)
class Attacked:
    """A model, the pictures that are attacked, and other pictures that the attacker has."""

    head: KnownHead
    whole: Any
    pool: Loaded
    pictures: Pictures
    others: Pictures

    def label(self, picture: Pictures) -> int:
        """The best class of a picture by the whole model that is cut."""
        return int(np.asarray(self.whole(picture[np.newaxis], training=False)).argmax())

    def pool_label(self, picture: Pictures) -> int:
        """The best class of a picture by the pool's own model, which all pictures [224, 224, 3] fit."""
        return int(self.pool.infer(picture[np.newaxis])[0].argmax())


@click.command()
@click.option("--model", "models", multiple=True, type=click.Choice(list(CUTS)), help="Only the cuts of this model.")
@click.option("--cut", "cuts", multiple=True, help="Only this cut.")
@click.option(
    "--seconds",
    default=240.0,
    show_default=True,
    help="Of a processor, for each of the two attacks on a cut, at most 300.",
)
@click.option(
    "--remedy",
    "remedies",
    multiple=True,
    default=[NONE],
    show_default=True,
    help="What the device does to an activation: uint8, uint4, or noise-0.5, of half the activation's deviation.",
)
@click.option("--again", is_flag=True, help="Attack also what was attacked for as long before.")
@click.option(
    "--page",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Attack nothing: write small pictures and figures of all that is kept into this folder, static/privacy.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/privacy"), show_default=True)
def main(
    models: Sequence[str],
    cuts: Sequence[str],
    seconds: float,
    remedies: Sequence[str],
    again: bool,
    page: Path | None,
    out: Path,
) -> None:
    """Attack the cuts; a picture and a line of figures for each. What was found before is kept, cut by cut."""
    if page:
        order = [f"{name}-{cut}" for name, of_model in CUTS.items() for cut in of_model]
        pages.write(_kept(out), out, order, page)
        return
    _use_one_thread()
    out.mkdir(parents=True, exist_ok=True)
    asked_for = [Remedy.of(one) for one in remedies]
    seconds = min(seconds, MOST_SECONDS)
    for name, of_model in CUTS.items():
        asked = [cut for cut in of_model if not cuts or cut in cuts]
        if not asked or (models and name not in models):
            continue
        for attacked in _opened(name, asked):
            for remedy in asked_for:
                _attack_once(attacked, remedy, seconds, again, out)


def _attack_once(attacked: Attacked, remedy: Remedy, seconds: float, again: bool, out: Path) -> None:
    """Attack a cut with a remedy unless that is kept; keep and print what was found."""
    kept = _kept(out)
    model, cut = attacked.head.model.name, attacked.head.cut
    name = f"{model}-{cut}" if remedy.name == NONE else f"{model}-{cut}-{remedy.name}"
    found = kept.get(name)
    if again or not found or found["asked_seconds"] < seconds:
        found = {"asked_seconds": seconds, **_attack(attacked, remedy, seconds, out / f"{name}.jpg")}
        (out / FIGURES).write_text(json.dumps({**kept, name: found}, indent=2) + "\n")
    click.echo(_line(name, found))


def _kept(out: Path) -> dict[str, Any]:
    """What was found before, by the names of the pictures."""
    file = out / FIGURES
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _use_one_thread() -> None:
    keras_net.quiet_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _opened(name: str, cuts: Sequence[str]) -> list[Attacked]:
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
    found = store.find(POOL, chosen.engine, chosen.cache_dir)
    pool = engines.by_name(found.engine).load(found.model, found.folder, threads=1, precision=found.precision)
    return [Attacked(KnownHead(model, net, cut), whole, pool, pictures, others) for cut in cuts]


def _attack(attacked: Attacked, remedy: Remedy, seconds: float, picture: Path) -> dict[str, Any]:
    """Run both attacks on what travels. Returns the figures, and keeps the pictures.

    The attacker knows the remedy, too: the decoder learns on activations that went through it.
    """
    head = attacked.head
    seen = remedy.applied(head.activations(attacked.pictures))
    decoded = decode(head, seen, attacked.others, seconds, remedy=remedy.applied)
    inverted = invert(head, seen, decoded.pictures, seconds)
    rebuilt = dict(zip(ATTACKS, (decoded, inverted), strict=True))
    _draw([attacked.pictures, *(one.pictures for one in rebuilt.values())], picture)
    everything = np.concatenate([attacked.pictures, attacked.others])
    kept = agreeing(head, attacked.whole, everything, remedy)
    told = {name: _figures(attacked, one) for name, one in rebuilt.items()}
    return {**told, "agreeing": kept, "photos": len(everything)}


def _figures(attacked: Attacked, rebuilt: Rebuilt) -> dict[str, Any]:
    pairs = list(zip(attacked.pictures, rebuilt.pictures, strict=True))
    return {
        "ssim": [round(ssim(one, other), 3) for one, other in pairs],
        "psnr": [round(psnr(one, other), 1) for one, other in pairs],
        "same_label": [attacked.label(one) == attacked.label(other) for one, other in pairs],
        "pool_label": [attacked.pool_label(one) == attacked.pool_label(other) for one, other in pairs],
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


def _line(name: str, found: dict[str, Any]) -> str:
    told = [
        f"{attack} SSIM {np.mean(one['ssim']):.2f}, PSNR {np.mean(one['psnr']):.1f} dB, same label "
        f"{sum(one['same_label'])} of {len(one['same_label'])}, by {POOL} {sum(one['pool_label'])} "
        f"({one['steps']} steps, {one['seconds']} s)"
        for attack in ATTACKS
        if (one := found[attack])
    ]
    return f"{name}: {'; '.join(told)}; the tail's label is right for {found['agreeing']} of {found['photos']}"


if __name__ == "__main__":
    main()
