"""What a worker knows about photos that may end its process, and what it does with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from app_tier.in_progress import Delivery
from app_tier.suspects.alone import try_alone
from app_tier.suspects.open_photos import OpenPhotos
from shoal.buckets import suspects
from shoal.messages import Job, Result
from shoal.ports import ObjectStore


class Suspects:
    """A photo is a suspect once it was open when a worker's process ended, or once it broke the engine.

    most:      how often a photo may break something before it fails for good.
    alone:     labels a photo in a process of its own. Raises Broken.
    """

    def __init__(
        self,
        outputs: ObjectStore,
        most: int = 5,
        open_photos: OpenPhotos | None = None,
        alone: Callable[[Job, bytes], Result] = try_alone,
    ) -> None:
        self._outputs = outputs
        self._most = most
        self._open_photos = open_photos or OpenPhotos()
        self.try_alone = alone

    def opened(self, deliveries: Sequence[Delivery]) -> AbstractContextManager[None]:
        """These photos are open for the length of the block."""
        return self.opened_keys([one.job.key for one in deliveries])

    def opened_keys(self, keys: Sequence[str]) -> AbstractContextManager[None]:
        """The photos of these keys are open for the length of the block."""
        return self._open_photos.noted(keys)

    def is_counted(self, key: str) -> bool:
        """Whether a photo was counted. May raise Retryable."""
        return suspects.times(self._outputs, key) > 0

    @property
    def left_open(self) -> Sequence[str]:
        """The photos that were open when this machine's last worker process ended. A lost machine leaves none."""
        return self._open_photos.left_open

    def forget_left_open(self) -> None:
        """They are counted. To be called before the first photo is opened."""
        self._open_photos.forget_left_open()

    def is_suspect(self, delivery: Delivery) -> bool:
        """Whether a photo is a suspect. At its first delivery nobody has tried it. May raise Retryable."""
        return delivery.message.deliveries > 1 and suspects.times(self._outputs, delivery.job.key) > 0

    def count(self, key: str) -> bool:
        """Count once more; returns whether that was too often. May raise Retryable."""
        return suspects.count(self._outputs, key) >= self._most
