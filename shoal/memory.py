"""The ports in memory, for tests and the simulator, with a clock that is set by hand. Safe for many threads."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shoal.clock import SystemClock
from shoal.errors import CapacityUnavailable, Changed, NotFound, Permanent
from shoal.lease import LeaseRecord, RecordLease
from shoal.messages import MAX_REQUEST_BYTES
from shoal.ports import LAST_NET_DELIVERIES, Beat, Cloud, Depth, Instance, JobQueue, Received, StoredObject, UploadForm


class ManualClock:
    """A clock that stands still until `wait` moves it."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def wait(self, seconds: float) -> None:
        self._now += seconds


@dataclass
class _Message:
    body: str
    sent_at: float
    visible_at: float
    deliveries: int = 0
    receipt: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The size in bytes as SQS counts it: the body, and of each attribute the name, the type "String", the text."""
        texts = [self.body, *(f"{name}String{text}" for name, text in self.attributes.items())]
        return sum(len(text.encode()) for text in texts)


class MemoryQueue:
    """A JobQueue with visibility timeout, size limit and dead-letter queue, like SQS.

    With a ManualClock, `receive` does not wait.
    """

    def __init__(
        self,
        clock: SystemClock | ManualClock,
        visibility_seconds: float = 30.0,
        max_bytes: int = 262_144,
        max_deliveries: int | None = None,
        dead_letters: MemoryQueue | None = None,
    ) -> None:
        self._clock = clock
        self._visibility_seconds = visibility_seconds
        self._max_bytes = max_bytes
        self._max_deliveries = max_deliveries
        self._dead_letters = dead_letters
        self._messages: list[_Message] = []
        self._receipts = itertools.count(1)
        self._changed = threading.Condition()

    def send(self, bodies: Sequence[str], attributes: Sequence[Mapping[str, str]] = ()) -> None:
        now = self._clock.now()
        sent = [
            _Message(body, now, now, attributes=own)
            for body, own in zip(bodies, attributes or [{}] * len(bodies), strict=True)
        ]
        for message in sent:
            if message.size > self._max_bytes:
                raise Permanent(f"message of {message.size} bytes is longer than the queue's {self._max_bytes}")
        with self._changed:
            self._messages += sent
            self._changed.notify_all()

    def receive(self, max_messages: int, wait_seconds: float) -> list[Received]:
        deadline = self._clock.now() + wait_seconds
        with self._changed:
            while not (taken := self._take(min(max_messages, 10))):
                left = deadline - self._clock.now()
                if left <= 0 or isinstance(self._clock, ManualClock):
                    return []
                self._changed.wait(min(left, 0.05))
        return taken

    def _take(self, count: int) -> list[Received]:
        now = self._clock.now()
        self._bury_worn_out(now)
        taken = [message for message in self._messages if message.visible_at <= now][:count]
        for message in taken:
            message.visible_at = now + self._visibility_seconds
            message.deliveries += 1
            message.receipt = f"r{next(self._receipts)}"
        return [Received(one.body, one.receipt, one.deliveries, one.sent_at, now, one.attributes) for one in taken]

    def _bury_worn_out(self, now: float) -> None:
        if self._dead_letters is None or self._max_deliveries is None:
            return
        limit = self._max_deliveries
        dead = [one for one in self._messages if one.visible_at <= now and one.deliveries >= limit]
        self._messages = [one for one in self._messages if one not in dead]
        self._dead_letters.send([one.body for one in dead])

    def delete(self, receipts: Sequence[str]) -> None:
        with self._changed:
            self._messages = [one for one in self._messages if not one.receipt or one.receipt not in receipts]

    def extend(self, receipts: Sequence[str], seconds: int) -> None:
        with self._changed:
            for message in self._messages:
                if message.receipt and message.receipt in receipts:
                    message.visible_at = self._clock.now() + seconds
            self._changed.notify_all()

    def depth(self) -> Depth:
        now = self._clock.now()
        with self._changed:
            visible = sum(one.visible_at <= now for one in self._messages)
            return Depth(visible, len(self._messages) - visible, 0)


class MemoryReplies:
    """Replies. Each name that is not that of a web process's queue gives the common queue."""

    def __init__(self, clock: SystemClock | ManualClock, common: MemoryQueue) -> None:
        self._clock = clock
        self._common = common
        self._own: dict[str, tuple[MemoryQueue, float]] = {}
        self._lock = threading.Lock()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __getitem__(self, name: str) -> JobQueue:
        if not re.search("-[0-9a-f]{12}$", name):
            return self._common
        with self._lock:
            if name not in self._own:
                raise NotFound(f"there is no queue {name!r}")
            return self._own[name][0]

    def keep(self, name: str) -> JobQueue:
        with self._lock:
            queue = self._own[name][0] if name in self._own else MemoryQueue(self._clock)
            self._own[name] = queue, self._clock.now()
            return queue

    def kept(self) -> dict[str, float]:
        with self._lock:
            return {name: at for name, (_, at) in self._own.items()}

    def remove(self, name: str) -> None:
        with self._lock:
            self._own.pop(name, None)


class MemoryStore:
    """An ObjectStore."""

    def __init__(self, clock: SystemClock | ManualClock) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def put(self, key: str, body: bytes, content_type: str) -> None:  # noqa: ARG002 - the port's signature
        with self._lock:
            self._objects[key] = (bytes(body), self._clock.now())

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:  # noqa: ARG002 - the port's signature
        with self._lock:
            return self._objects.setdefault(key, written := (bytes(body), self._clock.now())) is written

    def get(self, key: str) -> bytes:
        with self._lock:
            if key not in self._objects:
                raise NotFound(f"there is no object {key!r}")
            return self._objects[key][0]

    def get_part(self, key: str, start: int, most: int) -> bytes:
        return self.get(key)[start : start + most]

    def get_unchanged(self, key: str, etag: str) -> bytes:
        body = self.get(key)
        if etag not in ("", _etag(body)):
            raise Changed(f"{key!r} was overwritten")
        return body

    def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:
        with self._lock:
            found = sorted(
                (k, body, at) for k, (body, at) in self._objects.items() if k > after and k.startswith(prefix)
            )
        named = (StoredObject(key, len(body), at, _etag(body)) for key, body, at in found)
        return itertools.islice(named, most)

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


class MemoryBuckets(dict[str, MemoryStore]):
    """Buckets, each made at its first use."""

    def __init__(self, clock: SystemClock | ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def __missing__(self, name: str) -> MemoryStore:
        return self.setdefault(name, MemoryStore(self._clock))


class MemoryUploads:
    """Uploads of a cloud that cannot be reached from outside."""

    origin = ""

    def form(self, key: str, most_bytes: int, seconds: int) -> UploadForm:  # noqa: ARG002 - the port's signature
        raise Permanent("a cloud in memory takes no uploads")

    def works(self) -> bool:
        return False

    def remove_probes(self, before: float) -> int:  # noqa: ARG002 - the port's signature
        return 0


class MemoryPool:
    """An InstancePool with a limited capacity.

    capacity: the largest number of instances.
    """

    def __init__(self, clock: SystemClock | ManualClock, boot_seconds: float = 0.0, capacity: int = 10_000) -> None:
        self._clock = clock
        self._boot_seconds = boot_seconds
        self._instances: dict[str, Instance] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self.capacity = capacity

    def describe(self) -> list[Instance]:
        with self._lock:
            return [self._aged(one) for one in self._instances.values()]

    def _aged(self, one: Instance) -> Instance:
        booted = self._clock.now() - one.launched_at >= self._boot_seconds
        return replace(one, state="running") if booted and one.state == "pending" else one

    def token(self, count: int) -> str:  # noqa: ARG002 - the port's signature
        return uuid.uuid4().hex

    def launch(self, names: Sequence[str], token: str) -> list[Instance]:
        with self._lock:
            again = [one for one in self._instances.values() if one.launch == token]
            if again:
                return again
            room = max(0, self.capacity - len(self._instances))
            if names and not room:
                raise CapacityUnavailable(f"this cloud has no more than {self.capacity} instances to give")
            now = self._clock.now()
            new = [Instance(f"i-{next(self._ids):08x}", name, "pending", now, launch=token) for name in names[:room]]
            self._instances.update((one.id, one) for one in new)
        return new

    def drain(self, ids: Sequence[str]) -> None:
        with self._lock:
            for one in ids:
                if one in self._instances:
                    self._instances[one] = replace(self._instances[one], drain_since=self._clock.now())

    def terminate(self, ids: Sequence[str]) -> None:
        with self._lock:
            for one in ids:
                self._instances.pop(one, None)


class MemoryRegister:
    """A Register."""

    def __init__(self) -> None:
        self._beats: dict[str, Beat] = {}
        self._lock = threading.Lock()

    def beat(self, worker: str, beat: Beat) -> None:
        with self._lock:
            self._beats[worker] = beat

    def workers(self) -> dict[str, Beat]:
        with self._lock:
            return dict(self._beats)

    def forget(self, workers: Sequence[str]) -> None:
        with self._lock:
            for one in workers:
                self._beats.pop(one, None)


class MemoryLeaseRecord:
    """The store of a lease's record, shared by the `RecordLease` objects of several controllers in one process."""

    def __init__(self) -> None:
        self._record: LeaseRecord | None = None
        self._lock = threading.Lock()

    def read(self) -> LeaseRecord | None:
        with self._lock:
            return self._record

    def swap(self, old: LeaseRecord | None, new: LeaseRecord) -> bool:
        with self._lock:
            if self._record != old:
                return False
            self._record = new
        return True


def memory_lease(clock: SystemClock | ManualClock, place: MemoryLeaseRecord | None = None) -> RecordLease:
    """A Lease on `place`, or on a store of its own."""
    return RecordLease(place or MemoryLeaseRecord(), clock.now, clock.now)


def memory_cloud(
    clock: SystemClock | ManualClock, visibility_seconds: float = 30.0, max_deliveries: int = LAST_NET_DELIVERIES
) -> Cloud:
    """A cloud in memory with the same queues and limits as the real one."""
    dead_letters = MemoryQueue(clock, visibility_seconds)
    requests = MemoryQueue(clock, visibility_seconds, MAX_REQUEST_BYTES, max_deliveries, dead_letters)
    responses = MemoryQueue(clock, visibility_seconds)
    terminations = MemoryQueue(clock, visibility_seconds)
    pool, register, lease = MemoryPool(clock), MemoryRegister(), memory_lease(clock)
    stores = MemoryStore(clock), MemoryStore(clock)
    replies = MemoryReplies(clock, responses)
    bulk, buckets = MemoryQueue(clock, visibility_seconds), MemoryBuckets(clock)
    return Cloud(
        *stores, MemoryUploads(), requests, responses, replies, dead_letters, pool, register, lease, terminations,
        bulk, buckets,
    )  # fmt: skip
