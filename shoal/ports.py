"""What the tiers need of a cloud, and no more. `shoal.aws` fulfils it on AWS, `shoal.memory` in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Received:
    """A message as one delivery of it: its body, the receipt handle of this delivery, how often it was delivered,
    when it was sent and when it was first received (seconds since 1970, both by the queue's clock), and the attributes
    that it was sent with."""

    body: str
    receipt: str
    deliveries: int
    sent_at: float
    received_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker tells of itself. It carries no time of day: the clock of a worker is not to be trusted, so the
    reader notes by its own clock when `count` last changed.

    count:         grows with each beat.
    finished:      messages finished since the process began.
    held:          messages it works on now.
    busy_seconds:  time since it began in which it held a message.
    ready_seconds: from the start of the process until it could work.
    model:         the model that it serves.
    leaving:       whether it was told to leave and only finishes what it holds.
    """

    count: int
    finished: int = 0
    held: int = 0
    busy_seconds: float = 0.0
    ready_seconds: float = 0.0
    model: str = ""
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """The lease, held.

    token:  the fencing token: larger at each change of holder, the same when the holder renews.
    notes:  what the last holder wrote down with `Lease.note`, "" when nobody did.
    seized: taken from a holder that fell silent: it may be dead, or only paused and about to go on.
    """

    token: int
    notes: str = ""
    seized: bool = False


class JobQueue(Protocol):
    """At-least-once delivery. Every method may raise Retryable; a missing queue is NotFound."""

    def send(self, bodies: Sequence[str], attributes: Sequence[Mapping[str, str]] = ()) -> None:
        """Send messages, ten a call underneath, each with the attributes in its place, if any are given: names to
        texts, which count towards a message's size. Raises when any of them was not taken."""

    def receive(self, max_messages: int, wait_seconds: float) -> list[Received]:
        """Up to ten messages, waiting up to `wait_seconds` for the first."""

    def delete(self, receipts: Sequence[str]) -> None:
        """Remove messages for good. A receipt handle that is no longer valid is passed over."""

    def extend(self, receipts: Sequence[str], seconds: int) -> None:
        """Keep messages invisible for `seconds` from now; 0 gives them back. Old receipt handles are passed over."""

    def depth(self) -> Depth:
        """The counts. They may lag behind: never act on one zero alone."""


class Replies(Protocol):
    """The queues that responses go to: the common one, and one a web process, which is called like the common one with
    a hyphen and 12 hexadecimal digits behind it.

    Results are stored before their responses are sent: who loses such a queue loses nothing but some seconds.
    """

    def __contains__(self, name: object) -> bool:
        """Whether `name` may be in `reply_to`: a queue of either kind, be it there or not; "" is the common one."""

    def __getitem__(self, name: str) -> JobQueue:
        """The queue of that name. Raises NotFound, now or when it is used, when there is none."""

    def keep(self, name: str) -> JobQueue:
        """Make the queue of a web process, or note that its process lives. May raise Retryable."""

    def kept(self) -> dict[str, float]:
        """The queues of web processes, and when `keep` was last called for each (seconds since 1970, the service's
        clock). May raise Retryable."""

    def remove(self, name: str) -> None:
        """Remove the queue of a web process; no error when there is none. May raise Retryable."""


class ObjectStore(Protocol):
    """One bucket. Every method may raise Retryable."""

    def put(self, key: str, body: bytes, content_type: str) -> None:
        """Write or overwrite one object."""

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:
        """Write one object unless there is one already; returns whether it was written. One of many callers wins."""

    def get(self, key: str) -> bytes:
        """Read one object. Raises NotFound."""

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """The objects whose key starts with `prefix` and sorts after `after`, in the order of their keys."""

    def delete(self, key: str) -> None:
        """Remove one object; no error when there is none."""


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A form that puts one object in the bucket: POST to `url` as multipart/form-data the `fields`, then `Content-Type`
    (an image's), then the bytes as `file`."""

    url: str
    fields: Mapping[str, str]


class Uploads(Protocol):
    """Uploads from outside straight into the input bucket, for whoever was given a form."""

    @property
    def origin(self) -> str:
        """Scheme, host and port that forms are sent to; empty when there are none."""

    def form(self, key: str, most_bytes: int, seconds: int) -> UploadForm:
        """A form for that key alone, for an image of 1 to `most_bytes` bytes, good for `seconds`."""

    def works(self) -> bool:
        """Whether the store keeps to what a form says and lets pages of other origins send it, found out by trying.
        May raise Retryable."""

    def remove_probes(self, before: float) -> int:
        """Remove the test objects of `works` that were stored before a time (seconds since 1970) and stayed behind
        because their process died. Returns how many. May raise Retryable."""


class InstancePool(Protocol):
    """The worker instances of one Shoal. Every method may raise Retryable."""

    def describe(self) -> list[Instance]:
        """Every instance that is not terminated. It may lag behind a launch."""

    def token(self, count: int) -> str:
        """A new client token for the launch of up to `count` instances. It fixes what `launch` will ask for, so that
        whoever repeats the launch repeats it exactly. Raises CapacityUnavailable when nothing is to be had just now."""

    def launch(self, names: Sequence[str], token: str) -> list[Instance]:
        """Start up to len(names) instances in one call; fewer when the cloud has no more. The same token twice
        starts nothing twice. Raises CapacityUnavailable when not one could be had."""

    def drain(self, ids: Sequence[str]) -> None:
        """Ask instances to leave: each finishes what it holds and ends itself."""

    def terminate(self, ids: Sequence[str]) -> None:
        """End instances from outside, at once."""


class Register(Protocol):
    """Who works: one entry a worker, by its instance's id. Every method may raise Retryable."""

    def beat(self, worker: str, beat: Beat) -> None:
        """Enter the worker, or overwrite its entry."""

    def workers(self) -> dict[str, Beat]:
        """The last beat of every worker, those that died without a word included, until they are forgotten."""

    def forget(self, workers: Sequence[str]) -> None:
        """Strike workers off; no error for one that is not there."""


class Lease(Protocol):
    """Which of several controllers acts: at most one holds the lease. Every method may raise Retryable.

    No two machines' clocks are compared. A taker notes by its own steady clock since when the holder did not renew;
    only when that lasts as long as the lease may it take over. A holder that counts its `seconds` from *before* it
    renewed therefore always stops before another begins, unless it is paused between looking and acting: that is what
    the token and the notes are for.
    """

    def take(self, holder: str, seconds: float) -> Grant | None:
        """Take the lease when it is free or its holder did not renew for `seconds`, or renew it; None when another
        holds it."""

    def note(self, token: int, notes: str) -> None:
        """Replace the notes that the next holder will find. Raises LeaseLost when `token` is no longer the newest."""

    def release(self, holder: str) -> None:
        """Give the lease back, notes kept; no error when `holder` does not hold it."""


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
    uploads: Uploads
    requests: JobQueue
    responses: JobQueue
    replies: Replies
    dead_letters: JobQueue
    pool: InstancePool
    register: Register
    lease: Lease
    terminations: JobQueue
