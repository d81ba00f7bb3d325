"""What the tiers need of a cloud, and no more. `shoal.aws` fulfils it on AWS, `shoal.memory` in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Received:
    """A message as one delivery of it: its body, the receipt handle of this delivery, how often it was delivered,
    and when it was sent (seconds since 1970, the queue's clock)."""

    body: str
    receipt: str
    deliveries: int
    sent_at: float


@dataclass(frozen=True, slots=True)
class Depth:
    """A queue's (approximate) message counts: to be had, held by a worker, not yet to be had."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """Messages of any kind: the backlog."""
        return self.visible + self.in_flight + self.delayed


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a listing: key, size in bytes, time of last change (seconds since 1970, the store's clock)."""

    key: str
    size: int
    modified_at: float


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine of the pool, terminated ones excepted.

    state:       pending, running, shutting-down, stopping or stopped (EC2's words).
    launched_at: seconds since 1970, the cloud's clock.
    drain_since: when it was asked to leave, or None.
    launch:      token of the launch that made it.
    """

    id: str
    name: str
    state: str
    launched_at: float
    drain_since: float | None = None
    launch: str = ""


class JobQueue(Protocol):
    """At-least-once delivery. Every method may raise Retryable; a missing queue is NotFound."""

    def send(self, bodies: Sequence[str]) -> None:
        """Send messages, ten a call underneath. Raises when any of them was not taken."""

    def receive(self, max_messages: int, wait_seconds: float) -> list[Received]:
        """Up to ten messages, waiting up to `wait_seconds` for the first."""

    def delete(self, receipts: Sequence[str]) -> None:
        """Remove messages for good. A receipt handle that is no longer valid is passed over."""

    def extend(self, receipts: Sequence[str], seconds: int) -> None:
        """Keep messages invisible for `seconds` from now; 0 gives them back. Old receipt handles are passed over."""

    def depth(self) -> Depth:
        """The counts. They may lag behind: never act on one zero alone."""


class ObjectStore(Protocol):
    """One bucket. Every method may raise Retryable."""

    def put(self, key: str, body: bytes, content_type: str) -> None:
        """Write or overwrite one object."""

    def get(self, key: str) -> bytes:
        """Read one object. Raises NotFound."""

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """The objects whose key starts with `prefix` and sorts after `after`, in the order of their keys."""

    def delete(self, key: str) -> None:
        """Remove one object; no error when there is none."""


class InstancePool(Protocol):
    """The worker instances of one Shoal. Every method may raise Retryable."""

    def describe(self) -> list[Instance]:
        """Every instance that is not terminated. It may lag behind a launch."""

    def launch(self, names: Sequence[str], token: str) -> list[Instance]:
        """Start up to len(names) instances in one call; fewer when the cloud has no more. The same token twice
        starts nothing twice. Raises CapacityUnavailable when not one could be had."""

    def drain(self, ids: Sequence[str]) -> None:
        """Ask instances to leave: each finishes what it holds and ends itself."""

    def terminate(self, ids: Sequence[str]) -> None:
        """End instances from outside, at once."""


class Clock(Protocol):
    """Time, so that tests and the simulator can turn it by hand."""

    def now(self) -> float:
        """Seconds since 1970."""

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """All of a cloud that one Shoal uses; `shoal.aws.connect` and `shoal.memory.memory_cloud` make one."""

    inputs: ObjectStore
    outputs: ObjectStore
    requests: JobQueue
    responses: JobQueue
    dead_letters: JobQueue
    pool: InstancePool
