"""Who waits for what: results come in from the collector and go to every page and request that watches their batch."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from shoal.messages import Job, Result

KEPT_ANSWERS = 1_000
REMEMBERED_RESULTS = 8_192  # some 20 MB; a result that was forgotten is read from the output bucket again


@dataclass(frozen=True, slots=True)
class PoolState:
    """The request queue and the pool as a page shows them: messages and instances by state."""

    visible: int
    in_flight: int
    pending: int
    running: int
    draining: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A photo's answer arrived. at: by this process's steady clock. wait_seconds: how long its message was queued."""

    at: float
    wait_seconds: float


@dataclass(slots=True)
class News:
    """What arrived for a listener since it last looked."""

    results: list[Result] = field(default_factory=list)
    added: list[Job] = field(default_factory=list)
    pool: PoolState | None = None
    stopping: bool = False

    def __bool__(self) -> bool:
        return bool(self.results or self.added or self.pool or self.stopping)


class Listener:
    """The mailbox of one page or request. It gathers while nobody looks, so a slow reader slows nobody down."""

    def __init__(self) -> None:
        self._news = News()
        self._changed = threading.Condition()

    def take(self, seconds: float) -> News:
        """What has arrived; waits up to `seconds` when there is nothing yet. Once stopping, it stays stopping."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._news and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            taken, self._news = self._news, News(stopping=self._news.stopping)
        return taken

    def take_after(self, seconds: float) -> News:
        """What has arrived by the end of `seconds`, so that news that come close together are told together."""
        with self._changed:
            self._changed.wait_for(lambda: self._news.stopping, seconds)
        return self.take(0)

    def post(
        self,
        results: Iterable[Result] = (),
        added: Iterable[Job] = (),
        pool: PoolState | None = None,
        stopping: bool = False,
    ) -> None:
        """Put something in the mailbox and wake the reader."""
        with self._changed:
            self._news.results.extend(results)
            self._news.added.extend(added)
            self._news.pool = pool or self._news.pool
            self._news.stopping = stopping or self._news.stopping
            self._changed.notify_all()


class Hub:
    """Hands results to listeners and remembers the last few thousand. Safe for many threads."""

    def __init__(self, remembered: int = REMEMBERED_RESULTS) -> None:
        self._remembered = remembered
        self._results: OrderedDict[str, Result] = OrderedDict()
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)
        self._watchers: list[Listener] = []
        self._pool: PoolState | None = None
        self._answered: deque[Answered] = deque(maxlen=KEPT_ANSWERS)
        self._changed = threading.Condition()
        self._stopping = False

    @contextmanager
    def listen(self, batch: str, pool: bool = False) -> Iterator[Listener]:
        """A mailbox for the news of `batch`, and of the pool where `pool` is set, for the length of a `with` block."""
        listener = Listener()
        with self._changed:
            self._listeners[batch].append(listener)
            if pool:
                self._watchers.append(listener)
                listener.post(pool=self._pool)
            if self._stopping:
                listener.post(stopping=True)
            self._changed.notify_all()
        try:
            yield listener
        finally:
            with self._changed:
                self._listeners[batch].remove(listener)
                if not self._listeners[batch]:
                    del self._listeners[batch]
                if pool:
                    self._watchers.remove(listener)
                    self._pool = self._pool if self._watchers else None

    def publish(self, results: Iterable[Result]) -> None:
        """Remember results and hand them to whoever watches their batches."""
        with self._changed:
            for result in results:
                self._remember(result)
                if "queue" in result.seconds:
                    self._answered.append(Answered(time.monotonic(), result.seconds["queue"]))
                for listener in self._listeners.get(_batch_of(result.key), ()):
                    listener.post(results=[result])

    def added(self, job: Job) -> None:
        """Tell whoever watches the job's batch that a photo came in."""
        with self._changed:
            for listener in self._listeners.get(job.batch, ()):
                listener.post(added=[job])

    def remember(self, result: Result) -> None:
        """Keep a result that was read from the output bucket."""
        with self._changed:
            self._remember(result)

    def recall(self, key: str) -> Result | None:
        """The result of `key`, when it is still remembered."""
        with self._changed:
            return self._results.get(key)

    def forget(self, key: str) -> None:
        """Drop the result of a photo that is labelled again."""
        with self._changed:
            self._results.pop(key, None)

    def answered(self) -> list[Answered]:
        """The last thousand photos that workers answered while this process looked on, oldest first."""
        with self._changed:
            return list(self._answered)

    def publish_pool(self, state: PoolState) -> None:
        """Tell the watching pages how the pool is doing, when that has changed."""
        with self._changed:
            if state != self._pool:
                self._pool = state
                for listener in self._watchers:
                    listener.post(pool=state)

    def wait_for_watcher(self, seconds: float) -> bool:
        """Wait until a page watches the pool; returns whether one does."""
        with self._changed:
            self._changed.wait_for(lambda: self._watchers or self._stopping, seconds)
            return bool(self._watchers) and not self._stopping

    @property
    def stopping(self) -> bool:
        """Whether the web tier is going down."""
        return self._stopping

    def stop(self) -> None:
        """Tell everybody that the web tier is going down."""
        with self._changed:
            self._stopping = True
            for listeners in self._listeners.values():
                for listener in listeners:
                    listener.post(stopping=True)
            self._changed.notify_all()

    def _remember(self, result: Result) -> None:
        self._results[result.key] = result
        self._results.move_to_end(result.key)
        while len(self._results) > self._remembered:
            self._results.popitem(last=False)


def _batch_of(key: str) -> str:
    return key.partition("/")[0]
