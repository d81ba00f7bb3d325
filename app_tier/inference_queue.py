"""Decoded images that wait for the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from app_tier.in_progress import Delivery
from inference.answer import Decoded


@dataclass(frozen=True, slots=True)
class Image:
    """A photo as its model's input. digest: names the photo's bytes and the model. since: when it was decoded."""

    delivery: Delivery
    model: str
    decoded: Decoded
    digest: bytes
    since: float


class InferenceQueue:
    """First in, first out, but a batch is for one model. Safe for many threads on both sides."""

    def __init__(self) -> None:
        self._images: list[Image] = []
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._images)

    def put(self, image: Image) -> None:
        """Add an image at the end."""
        with self._changed:
            self._images.append(image)
            self._changed.notify()

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, most: Callable[[str], int]) -> list[Image]:
        """Wait for an image; return it with the others for the same model that are here already, up to `most(model)`.
        No delay when idle, full batches under load. Returns none when the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._images or self._closed)
            if not self._images:
                return []
            model = self._images[0].model
            batch = [one for one in self._images if one.model == model][: most(model)]
            taken = {id(one) for one in batch}
            self._images = [one for one in self._images if id(one) not in taken]
            return batch
