"""Passes results from the collector to every open page and waiting request of their batch."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from shoal.messages import Job, Result

KEPT_ANSWERS = 1_000
REMEMBERED_RESULTS = 8_192  # a result that was forgotten is read from the output bucket again
REMEMBERED_BYTES = 20_000_000  # of all of them together: one with a hundred objects takes 50 KB


@dataclass(frozen=True, slots=True)
class PoolState:
    """Messages in the request queue and instances in the pool, by state.

    hindrance: why photos wait although more workers are wanted, for people; empty when nothing stands in the way.
    """

    visible: int
    in_flight: int
    pending: int
    running: int
    draining: int
    hindrance: str = ""

    @property
    def workers(self) -> int:
        """Those that label: running, or finishing their last photos."""
        return self.running + self.draining

    def counts(self) -> dict[str, int]:
        """The numbers, as JSON types."""
        fields = asdict(self)
        del fields["hindrance"]
        return fields


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that arrived. at: by this process's monotonic clock. wait_seconds: how long its message was queued."""

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
    """The mailbox of one page or request. News wait there for their reader, so a slow reader delays no other."""

    def __init__(self, on_news: Callable[[], None] | None = None) -> None:
        """on_news: called when news were posted, by the thread that posts."""
        self._news = News()
        self._on_news = on_news
        self._changed = threading.Condition()

    def take(self, seconds: float) -> News:
        """Take the news; wait up to `seconds` when there are none. `stopping` stays set once it is."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._news and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            taken, self._news = self._news, News(stopping=self._news.stopping)
        return taken

    def post(
        self,
        results: Iterable[Result] = (),
        added: Iterable[Job] = (),
        pool: PoolState | None = None,
        stopping: bool = False,
    ) -> None:
        """Add news to the mailbox and wake its reader."""
        with self._changed:
            self._news.results.extend(results)
            self._news.added.extend(added)
            self._news.pool = pool or self._news.pool
            self._news.stopping = stopping or self._news.stopping
            self._changed.notify_all()
        if self._on_news is not None:
            self._on_news()


class Hub:
    """Passes results to listeners and remembers the last few thousand. Safe for many threads."""

    def __init__(self, remembered: int = REMEMBERED_RESULTS) -> None:
        self._remembered = remembered
        self._results: OrderedDict[str, Result] = OrderedDict()
        self._bytes = 0  # that they take, about
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)
        self._watchers: list[Listener] = []
        self._pool: PoolState | None = None
        self._answered: deque[Answered] = deque(maxlen=KEPT_ANSWERS)
        self._changed = threading.Condition()
        self._stopping = False

    @contextmanager
    def listen(self, batch: str, pool: bool = False, on_news: Callable[[], None] | None = None) -> Iterator[Listener]:
        """A mailbox for the news of `batch`, and of the pool if `pool` is set, for the length of a `with` block."""
        listener = Listener(on_news)
        with self._changed:
            self._listeners[batch].append(listener)
            if pool:
                self._watchers.append(listener)
                listener.post(pool=self._pool)
                self._changed.notify_all()
            if self._stopping:
                listener.post(stopping=True)
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
        """Remember results and post them to the listeners of their batches."""
        with self._changed:
            for result in results:
                known = self._results.get(result.key)
                if known and known.is_cancelled:
                    continue  # a worker had the photo already, and tells of it later
                self._remember(result)
                if "queue" in result.seconds:
                    self._answered.append(Answered(time.monotonic(), result.seconds["queue"]))
                for listener in self._listeners.get(_batch_of(result.key), ()):
                    listener.post(results=[result])

    def added(self, job: Job) -> None:
        """Tell the listeners of the job's batch that a photo came in."""
        with self._changed:
            for listener in self._listeners.get(job.batch, ()):
                listener.post(added=[job])

    def remember(self, result: Result) -> None:
        """Keep a result that was read from the output bucket."""
        with self._changed:
            self._remember(result)

    def recall(self, key: str) -> Result | None:
        """The result of `key`; None when it is not remembered."""
        with self._changed:
            return self._results.get(key)

    def forget(self, key: str) -> None:
        """Drop the result of a photo that is labelled again."""
        with self._changed:
            self._drop(key)

    def drop(self, batch: str) -> None:
        """Forget a batch that is deleted, and end the pages and requests that wait for it."""
        with self._changed:
            for key in [key for key in self._results if _batch_of(key) == batch]:
                self._drop(key)
            for listener in self._listeners.get(batch, ()):
                listener.post(stopping=True)

    def answered(self) -> list[Answered]:
        """The last thousand answers that reached this process, oldest first."""
        with self._changed:
            return list(self._answered)

    def publish_pool(self, state: PoolState) -> None:
        """Tell the listeners of the pool its state, when it has changed."""
        with self._changed:
            if state != self._pool:
                self._pool = state
                for listener in self._watchers:
                    listener.post(pool=state)

    def wait_for_watcher(self, seconds: float) -> bool:
        """Wait up to `seconds` until a page watches the pool. Returns whether a page does."""
        with self._changed:
            self._changed.wait_for(lambda: self._watchers or self._stopping, seconds)
            return bool(self._watchers) and not self._stopping

    @property
    def stopping(self) -> bool:
        """Whether the web tier is going down."""
        return self._stopping

    def stop(self) -> None:
        """Tell every listener that the web tier is going down."""
        with self._changed:
            self._stopping = True
            for listeners in self._listeners.values():
                for listener in listeners:
                    listener.post(stopping=True)
            self._changed.notify_all()

    def _remember(self, result: Result) -> None:
        self._drop(result.key)
        self._results[result.key] = result
        self._bytes += _size(result)
        while len(self._results) > self._remembered or self._bytes > REMEMBERED_BYTES:
            self._drop(next(iter(self._results)))

    def _drop(self, key: str) -> None:
        if result := self._results.pop(key, None):
            self._bytes -= _size(result)


def _size(result: Result) -> int:
    """About how many bytes it takes in memory, as measured."""
    labels = len(result.labels) + sum(len(one.labels) for one in result.detections)
    return 900 + 100 * labels + 480 * len(result.detections)


def _batch_of(key: str) -> str:
    return key.partition("/")[0]
