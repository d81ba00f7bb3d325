"""Makes the head and the tail of a cut as artefacts, and compares them with the whole net before they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from inference import engines, store, tasks
from inference.answer import Outputs
from inference.arithmetic import INT8
from inference.engines import Engine
from inference.model import Model
from inference.preparing import agreement, architecture
from inference.preparing.convert import now, versions
from inference.preparing.cutting import int8_tail, keras_graph, measure
from inference.preparing.cutting.request import AGREEING, INT8_TAIL, CutRequest
from inference.preparing.sources import Say
from inference.split import header, packing
from inference.split.point import CutPoint, pair_of
from inference.store import Card
from shoal.errors import Permanent


def make(model: Model, net: Any, origin: Card, asked: CutRequest, photos: Sequence[Path], say: Say) -> dict[str, Any]:
    """Write both parts into `asked.scratch`, each with its card. Returns what was compared.

    Raises Permanent for a cut that is not legal, and for a pair that does not agree with the whole net.
    """
    legal = [cut.name for cut in measure.cuts_of(model, net)]
    if asked.cut not in legal:
        raise Permanent(
            f"{model.title} cannot be cut at {asked.cut[:60]!r}: `shoal split cuts {model.name}` lists its cuts"
        )
    nets = {"head": keras_graph.head_of(model, net, asked.cut), "tail": keras_graph.tail_of(net, asked.cut)}
    shape = tuple(int(size) for size in nets["tail"].input_shape[1:])
    point = CutPoint(model.name, asked.cut, pair_of(model.name, origin.checksum, asked.cut), shape)
    engine = engines.by_name(asked.engine)
    folders = {part: Path(asked.scratch) / part for part in store.PARTS}
    for part, folder in folders.items():
        say(f"converting the {part} of {model.title} for {asked.engine}")
        folder.mkdir()
        engine.convert(nets[part], folder)
        point.write(folder)
    say(f"comparing head and tail with the whole net on {len(photos)} photos")
    found = _compare(model, architecture.with_preprocessing(model, net), engine, folders, point, photos)
    for part, folder in folders.items():
        card = replace(origin, engine=asked.engine, files=store.describe(folder), versions=versions(), made_at=now())
        replace(card, agreement=found | {"part": part}).write(folder)
    coarse = Path(asked.scratch) / INT8_TAIL
    coarse.mkdir()
    say(f"trying the tail of {model.title} in int8")
    tried = int8_tail.make(model, engine, folders, point, photos, coarse)
    if tried.get("kept"):
        point.write(coarse)
        card = replace(origin, engine=asked.engine, files=store.describe(coarse), versions=versions(), made_at=now())
        replace(card, agreement=found | {"part": "tail"}, precision=INT8, quantized=tried).write(coarse)
    return {"agreement": found, "int8": tried}


def _compare(
    model: Model, whole: Any, engine: Engine, folders: dict[str, Path], point: CutPoint, photos: Sequence[Path]
) -> dict[str, Any]:
    """Send the photos through head, packing and tail, in each type of numbers, and compare with Keras' whole net.

    Raises Permanent if a label differs in float32, a probability by more than `agreement.LIMIT`, or too many in uint8.
    """
    opened = agreement.decoded(model, photos)
    if model.task == "emotion":  # few photos show faces
        opened += agreement.mirrored(opened)
    if not opened:
        raise Permanent(f"none of the {len(photos)} photos shows what {model.title} looks at")
    head, tail = (engine.load(model, folders[part]) for part in ("head", "tail"))
    task = tasks.by_name(model.task)
    same = dict.fromkeys(header.BITS, 0)
    difference = 0.0
    for one in opened:
        right = architecture.outputs(whole, one.tensor)
        best = agreement.names(task.read(model, right, one))
        activations = head.infer(one.tensor)[0]
        for dtype in same:
            sent = [packing.unpack(packing.pack(each, point, dtype), point) for each in activations]
            found: Outputs = tail.infer(np.stack(sent))
            same[dtype] += agreement.names(task.read(model, found, one)) == best
            if dtype == "float32":
                difference = max(difference, float(np.abs(found[0] - right[0]).max()))
    count = len(opened)
    if same["float32"] < count or difference > agreement.LIMIT or same["uint8"] < AGREEING * count:
        raise Permanent(
            f"head and tail of {model.title} at {point.cut} are not the whole net and were not put in place: "
            f"{same['float32']} of {count} labels are the same, {same['uint8']} in uint8, probabilities differ by up "
            f"to {difference:.2g}"
        )
    return {
        "photos": count,
        "float32": {"same_label": count, "max_difference": difference},
        "uint8": {"same_label": same["uint8"]},
        "uint4": {"same_label": same["uint4"]},
        "reference": "Keras",
    }
