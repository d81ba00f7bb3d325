"""The interfaces of the cloud that the tiers use. `shoal.aws` implements them on AWS, `shoal.memory` in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

LAST_NET_DELIVERIES = 100  # of a request message; a photo that ends workers fails long before
MOST_IN_PROGRESS = 32  # messages of one worker: enough to keep its engine busy; the rest is left to other workers


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery of a message.

    receipt:     the receipt handle of this delivery.
    deliveries:  how often the message was delivered, this time included.
    sent_at, received_at: when it was sent, and when this delivery was received (seconds since 1970, by the queue's
                 clock). SQS tells no time of a later delivery: its `received_at` is by the receiver's clock.
    """

    body: str
    receipt: str
    deliveries: int
    sent_at: float
    received_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Depth:
    """The approximate message counts of a queue: ready for a receiver, received and not yet deleted, delayed."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """The backlog: all messages."""
        return self.visible + self.in_flight + self.delayed


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a listing: key, size in bytes, time of the last change (seconds since 1970, store's clock).

    etag: changes with the object's bytes; empty where the store tells none.
    """

    key: str
    size: int
    modified_at: float
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of the pool that is not terminated.

    state:       pending, running, shutting-down, stopping or stopped, as EC2 names them.
    launched_at: seconds since 1970, by the cloud's clock.
    drain_since: when it was asked to drain; None when it was not.
    launch:      the token of the launch that started it.
    """

    id: str
    name: str
    state: str
    launched_at: float
    drain_since: float | None = None
    launch: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker's report about itself.

    It has no time of day, because the clock of a worker may be wrong. The reader notes by its own clock when `count`
    last changed.

    count:         grows with each beat.
    finished:      messages finished since the start of the process.
    in_progress:   messages that it works on now.
    busy_seconds:  seconds since the start in which at least one message was in progress.
    ready_seconds: seconds from the start of the process until it could work.
    model:         the names of the models that it serves.
    leaving:       True when it drains: it finishes its messages in progress and receives no more.
    received:      messages received since the start of the process, those that it cannot read included.
    waits_for_store: True when it cannot get on because the buckets do not answer or are full.
    arithmetic:    in which it computes, for people: `int8`; for several models `resnet50 int8, mini_xception float32`.
    peak_bytes:    the most memory that its process has held at once; 0 when it is not known.
    dropped:       of the messages finished, those for whose photo nobody waits: it was cancelled, or its batch deleted.
    bulk:          photos of bulk runs that it works on now; they count in none of the numbers above.
    bulk_finished: photos of bulk runs finished since the start of the process; they, too, count in none of them.
    restarted:     True when a process before this one was started on the same machine since its boot.
    """

    count: int
    finished: int = 0
    in_progress: int = 0
    busy_seconds: float = 0.0
    ready_seconds: float = 0.0
    model: str = ""
    leaving: bool = False
    received: int = 0
    waits_for_store: bool = False
    arithmetic: str = ""
    peak_bytes: int = 0
    dropped: int = 0
    bulk: int = 0
    bulk_finished: int = 0
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease that was taken or renewed.

    token:  the fencing token; it grows with each change of holder and stays the same when the holder renews.
    notes:  the text that the last holder wrote with `Lease.note`; "" when there is none.
    seized: True when the last holder did not renew in time. It may be dead, or paused and about to continue.
    """

    token: int
    notes: str = ""
    seized: bool = False


class JobQueue(Protocol):
    """At-least-once delivery. Every method may raise Retryable; a missing queue is NotFound."""

    def send(self, bodies: Sequence[str], attributes: Sequence[Mapping[str, str]] = ()) -> None:
        """Send messages; `attributes` is empty or has one mapping (name -> text) for each message.

        Attributes count towards a message's size. Raises when the queue did not accept one of the messages.
        """

    def receive(self, max_messages: int, wait_seconds: float) -> list[Received]:
        """Receive up to ten messages; wait up to `wait_seconds` for the first."""

    def delete(self, receipts: Sequence[str]) -> None:
        """Delete messages. Receipt handles that are no longer valid are ignored."""

    def extend(self, receipts: Sequence[str], seconds: int) -> None:
        """Hide messages from other receivers for `seconds` from now; 0 gives them back. Old handles are ignored."""

    def depth(self) -> Depth:
        """Count the messages. The counts may be late: never act on a single zero."""


class Replies(Protocol):
    """The response queues: the common queue, and a queue for each web process.

    The name of a process's queue is that of the common queue, a hyphen and 12 hexadecimal digits. Results are stored
    before their responses are sent, so a lost queue costs a few seconds and no result.
    """

    def __contains__(self, name: object) -> bool:
        """Whether `name` is a valid `reply_to`, whether or not the queue exists; "" is the common queue."""

    def __getitem__(self, name: str) -> JobQueue:
        """Return the queue with this name. Raises NotFound, here or at its first use, when it does not exist."""

    def keep(self, name: str) -> JobQueue:
        """Create the queue of a web process, or record that the process is alive. May raise Retryable."""

    def kept(self) -> dict[str, float]:
        """Map each web process's queue to the last call of `keep` (seconds since 1970, by the service's clock).

        May raise Retryable.
        """

    def remove(self, name: str) -> None:
        """Delete the queue of a web process; no error when it does not exist. May raise Retryable."""


class ObjectStore(Protocol):
    """One bucket. Every method may raise Retryable."""

    def put(self, key: str, body: bytes, content_type: str) -> None:
        """Write or overwrite an object."""

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:
        """Write an object unless the key exists. Returns True when it was written; of many callers one gets True."""

    def get(self, key: str) -> bytes:
        """Read an object. Raises NotFound."""

    def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:
        """List the objects whose key starts with `prefix` and sorts after `after`, ordered by key.

        most: the caller takes no more than so many, so no more need be asked for.
        """

    def delete(self, key: str) -> None:
        """Delete an object; no error when it does not exist."""


class Bucket(Protocol):
    """Any bucket that these credentials may use, for bulk runs. Every method may raise Retryable and Permanent."""

    def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:
        """See `ObjectStore.list`."""

    def get(self, key: str) -> bytes:
        """Read an object. Raises NotFound."""

    def get_part(self, key: str, start: int, most: int) -> bytes:
        """Read at most `most` bytes from the byte `start` on; none behind the end. Raises NotFound."""

    def get_unchanged(self, key: str, etag: str) -> bytes:
        """Read an object if it still has this etag; "" reads any. Raises NotFound, and Changed."""

    def put(self, key: str, body: bytes, content_type: str) -> None:
        """Write or overwrite an object."""


class Buckets(Protocol):
    """Buckets by their names."""

    def __getitem__(self, name: str) -> Bucket:
        """The bucket of this name, without a call."""


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A form that stores an object in the bucket.

    Send it to `url` with POST as multipart/form-data: the `fields`, then `Content-Type` (of an image), then the bytes
    as `file`.
    """

    url: str
    fields: Mapping[str, str]


class Uploads(Protocol):
    """Uploads from a browser or a program straight to the input bucket, with a form."""

    @property
    def origin(self) -> str:
        """The scheme, host and port that forms are sent to; empty when there are no forms."""

    def form(self, key: str, most_bytes: int, seconds: int) -> UploadForm:
        """Make a form for this key only, for an image of 1 to `most_bytes` bytes, valid for `seconds`."""

    def works(self) -> bool:
        """Test whether the store enforces the rules of a form and accepts it from pages of other origins.

        May raise Retryable.
        """

    def remove_probes(self, before: float) -> int:
        """Delete the test objects of `works` that a dead process left.

        before: only objects that were stored before this time (seconds since 1970).
        Returns the number of deleted objects. May raise Retryable.
        """


class InstancePool(Protocol):
    """The worker instances of one Shoal. Every method may raise Retryable."""

    def describe(self) -> list[Instance]:
        """List the instances that are not terminated. A launch may show up late."""

    def token(self, count: int) -> str:
        """Make a client token for the launch of up to `count` instances.

        The token fixes what `launch` asks for, so that a repeated launch is exactly the same.
        Raises CapacityUnavailable when the cloud has no capacity now.
        """

    def launch(self, names: Sequence[str], token: str) -> list[Instance]:
        """Start up to len(names) instances in one call; fewer when the cloud has less capacity.

        A second call with the same token starts no more instances. Raises CapacityUnavailable when none was started.
        """

    def drain(self, ids: Sequence[str]) -> None:
        """Ask instances to drain: each finishes what it holds and terminates itself."""

    def terminate(self, ids: Sequence[str]) -> None:
        """Terminate instances at once."""


class Register(Protocol):
    """The list of the workers: one entry for each, by the id of its instance. Every method may raise Retryable."""

    def beat(self, worker: str, beat: Beat) -> None:
        """Add or overwrite the entry of a worker."""

    def workers(self) -> dict[str, Beat]:
        """Return the last beat of each worker. Dead workers stay in the list until `forget`."""

    def forget(self, workers: Sequence[str]) -> None:
        """Delete the entries of workers; no error when an entry does not exist."""


class Lease(Protocol):
    """The lease decides which of several controllers acts: at most one holds it. Every method may raise Retryable.

    The clocks of two machines are never compared. A controller that wants the lease measures by its own steady clock
    how long the holder has not renewed. It takes over when that is as long as the lease. The holder counts its
    `seconds` from *before* its renewal, so it stops before another begins. The exception is a holder that is paused
    between the check and the act: the token and the notes are for that case.
    """

    def take(self, holder: str, seconds: float) -> Grant | None:
        """Renew the lease, or take it when it is free or its holder has not renewed for `seconds`.

        Returns None when another controller holds it.
        """

    def note(self, token: int, notes: str) -> None:
        """Replace the notes for the next holder. Raises LeaseLost when `token` is no longer the newest."""

    def release(self, holder: str) -> None:
        """Give the lease back and keep the notes; no error when `holder` does not hold it."""


class Clock(Protocol):
    """The time. Tests and the simulator use a clock that they set themselves."""

    def now(self) -> float:
        """Seconds since 1970."""

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """Everything that a Shoal uses in a cloud; made by `shoal.aws.connect` and `shoal.memory.memory_cloud`.

    bulk:    the queue of the bulk runs, the slow lane.
    buckets: every bucket that a bulk run may name.
    """

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
    bulk: JobQueue
    buckets: Buckets
