"""The device's part of the venue `split`: the head of a cut net is run on a photo, and what comes out is packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from inference import engines, tasks
from inference.engines import Loaded
from inference.model import Model
from inference.split import packing
from inference.split.point import CutPoint
from inference.store import Artefact

WHOLE_PICTURES = ("classify", "classify_whole")  # tasks whose nets look at the picture once; others look at its faces


@dataclass(frozen=True)
class CutHead:
    """The head of a cut, loaded. point: where the net is cut, so what its tail expects."""

    model: Model
    loaded: Loaded
    point: CutPoint

    @classmethod
    def of(cls, found: Artefact, point: CutPoint) -> Self:
        """Load what `inference.store.find_head` has found."""
        return cls(found.model, engines.by_name(found.engine).load(found.model, found.folder), point)

    def pack(self, payload: bytes, max_pixels: int, dtype: str = "uint8") -> bytes:
        """The packed activation of a photo's bytes, or those of its faces. dtype: of the numbers. Raises BadImage."""
        opened = tasks.by_name(self.model.task).decode(self.model, payload, max_pixels)
        if self.model.task in WHOLE_PICTURES:
            return packing.pack(self.loaded.infer(opened.tensor)[0][0], self.point, dtype)
        none = np.empty((0, *self.point.shape), np.float32)
        found = self.loaded.infer(opened.tensor)[0] if len(opened.tensor) else none
        return packing.pack_parts(found, self.point, opened.boxes, opened.size, dtype)
