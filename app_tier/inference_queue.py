"""Decoded images that wait for the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from app_tier.in_progress import Delivery
from inference.answer import Decoded


@dataclass(frozen=True, slots=True)
class Image:
    """A held message's image as the input of the model that it is for; `digest` names its bytes and that model."""

    held: Delivery
    model: str
    decoded: Decoded
    digest: bytes
    since: float


class InferenceQueue:
    """First come, first served, but a batch is of one model. Many threads put, many take."""

    def __init__(self) -> None:
        self._images: list[Image] = []
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._images)

    def put(self, image: Image) -> None:
        """Add one to the end."""
        with self._changed:
            self._images.append(image)
            self._changed.notify()

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, most: Callable[[str], int]) -> list[Image]:
        """Wait for one image, then take it and those there are for the same model, up to `most` of that model: no delay
        when idle, full batches under load. Empty when nothing more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._images or self._closed)
            if not self._images:
                return []
            model = self._images[0].model
            batch = [one for one in self._images if one.model == model][: most(model)]
            taken = {id(one) for one in batch}
            self._images = [one for one in self._images if id(one) not in taken]
            return batch
