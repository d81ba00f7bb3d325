"""What a million images cost in a bulk run, by instance type. Reckoned from what was measured; makes no call.

The rates of the engine are those of `shoal instance-types`: ResNet50, measured on three kinds of CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runs.costs import costs
from runs.records import ListingState
from runs.run import FIRST_IMAGES, FIRST_SHARDS, Run, shard_images
from shoal.deployment.instance_types import NOT_MEASURED, offer
from shoal.errors import Permanent

IMAGES = 1_000_000
PHOTO_BYTES = 104_000
TYPES = ("c6i.large", "c7i.large", "c7a.large")
DECODE_SECONDS = 0.0032  # of one core, for a photo of 104 KB
# Of the reckoned speed of decoder and engine: 52 photos/s were measured where 63 are reckoned.
SHARE = 0.83
EXTRA_PER_HOUR = 0.006  # dollars for a public IPv4 address and a disk of 8 GB


@dataclass(frozen=True, slots=True)
class MillionPrice:
    """What a million images cost on workers of a type, in US dollars.

    images_per_second: of one worker, in `arithmetic`.  hours: of one worker.  requests: to S3 and SQS.
    """

    type: str
    arithmetic: str
    images_per_second: float
    hours: float
    shards: int
    computing: float
    requests: float
    storage_month: float

    @property
    def total(self) -> float:
        """Without the storage, which goes on for as long as the results are kept."""
        return self.computing + self.requests


def of_a_million(
    types: Sequence[str] = TYPES, decode_seconds: float = DECODE_SECONDS, share: float = SHARE
) -> list[MillionPrice]:
    """The price on each type, on demand.

    decode_seconds: of one core for a photo.  share: what a worker reaches of decoder and engine.
    Raises Permanent for a type whose speed or price is not known.
    """
    return [_price(name, decode_seconds, share) for name in types]


def _price(name: str, decode_seconds: float, share: float) -> MillionPrice:
    found = offer(name, NOT_MEASURED)
    if found is None or found.images_per_second is None:
        raise Permanent(f"the speed or the price of {name} is not known")
    cores = found.vcpus * found.family.cores
    seconds = (decode_seconds / cores + 1 / found.images_per_second) / share
    images = shard_images(seconds)
    run = Run("", "", "", "", shard_images=images, price_per_hour=found.price + EXTRA_PER_HOUR)
    first = FIRST_SHARDS * FIRST_IMAGES
    shards = FIRST_SHARDS + -(-(IMAGES - first) // images)
    parts = costs(run, ListingState(shards, IMAGES, IMAGES * PHOTO_BYTES, IMAGES), IMAGES * seconds)
    return MillionPrice(
        name,
        found.arithmetic,
        1 / seconds,
        IMAGES * seconds / 3600,
        shards,
        parts["computing"],
        parts["requests"],
        parts["storage_month"],
    )
