"""What the buckets have of a batch, without reading any of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shoal.errors import MalformedMessage
from shoal.messages import Job
from shoal.ports import StoredObject


@dataclass(frozen=True, slots=True)
class Listing:
    """What the buckets have of a batch, by key: its photos, and its results."""

    stored: Mapping[str, StoredObject]
    answered: Mapping[str, StoredObject]

    @property
    def jobs(self) -> list[Job]:
        """The photos in the input bucket, in their order."""
        return jobs_of(self.stored)

    @property
    def waiting(self) -> list[str]:
        """The keys of the photos without a result."""
        return [key for key in self.stored if key not in self.answered]

    @property
    def seconds(self) -> float:
        """From the first photo stored to the last change."""
        times = self._times
        return max(times) - min(times) if times else 0.0

    @property
    def began(self) -> float:
        """When the first photo was stored, in seconds since 1970; 0 without any."""
        return min(self._times, default=0.0)

    @property
    def _times(self) -> list[float]:
        return [one.modified_at for one in (*self.stored.values(), *self.answered.values())]


def jobs_of(keys: Iterable[str]) -> list[Job]:
    """The photos that `keys` name, in their order; other keys are left out."""
    found = []
    for key in keys:
        try:
            found.append(Job.from_key(key, ""))
        except MalformedMessage:
            continue  # an object that somebody else put there
    return sorted(found, key=lambda job: (job.index, job.name))
