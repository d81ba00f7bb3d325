"""What the Lambda function has labelled lately, counted from its result documents, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from shoal.errors import MalformedMessage, NotFound
from shoal.messages import Result
from shoal.ports import ObjectStore, StoredObject
from shoal.prices import billed_seconds, comparably, function_cost
from shoal.settings import Settings

MOST_LISTED = 10_000  # documents: ten calls to S3
READ = 10  # of the newest documents: what a photo takes hardly varies


@dataclass(frozen=True, slots=True)
class FunctionUse:
    """photos: how many. whole: whether those are all. labelling_seconds: decoding and inference of one, on average."""

    photos: int
    whole: bool
    labelling_seconds: float

    def cost(self, settings: Settings) -> float:
        """GB-seconds and calls in US dollars; without calls to S3 and DynamoDB, as the pool's cost is without them."""
        seconds = self.photos * billed_seconds(settings, self.labelling_seconds)
        return function_cost(settings.lambda_memory_mb, seconds, self.photos)

    def in_words(self, settings: Settings) -> str:
        """3 photos, under a cent ($0.0000042)."""
        count = f"{'' if self.whole else 'at least '}{self.photos:,} photo{'s' * (self.photos != 1)}"
        amount = comparably(self.cost(settings))
        return f"{count}, {'would cost ' if settings.emulated else ''}{amount}"


def since(outputs: ObjectStore, prefix: str, moment: float) -> FunctionUse | None:
    """What it labelled since then, in seconds since 1970; None for nothing. May raise Retryable and Permanent."""
    listed = list(islice(outputs.list(prefix), MOST_LISTED + 1))
    found = sorted((one for one in listed if one.modified_at >= moment), key=lambda one: one.modified_at)
    times = _labelling_seconds(outputs, found[-READ:])
    return FunctionUse(len(found), len(listed) <= MOST_LISTED, sum(times) / len(times)) if times else None


def _labelling_seconds(outputs: ObjectStore, documents: Sequence[StoredObject]) -> list[float]:
    times = []
    for one in documents:
        try:
            spent = Result.from_json(outputs.get(one.key)).seconds
        except (NotFound, MalformedMessage):
            continue
        times.append(spent.get("decode", 0.0) + spent.get("infer", 0.0))
    return times
