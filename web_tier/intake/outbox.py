"""Request messages of all requests at once, on their way to the queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from shoal.ports import JobQueue

CALL_MESSAGES = 10  # what SQS takes in one call
CALLS_AT_ONCE = 1  # two would halve what gathers; ten messages in ten milliseconds are more than any intake


@dataclass
class Parcel:
    """The messages of one caller, up to a call's worth, and whether they are sent."""

    bodies: Sequence[str]
    attributes: Sequence[Mapping[str, str]]
    sent: Future[None] = field(default_factory=Future)


class Outbox:
    """While calls are under way, the messages of other requests gather, and the next call takes them together: under
    load ten photos of ten requests cost one call, and one that comes alone goes at once. Safe for many threads."""

    def __init__(self, requests: JobQueue) -> None:
        self._requests = requests
        self._waiting: deque[Parcel] = deque()
        self._changing = threading.Lock()
        self._calls = threading.BoundedSemaphore(CALLS_AT_ONCE)

    def send(self, bodies: Sequence[str], attributes: Sequence[Mapping[str, str]]) -> None:
        """Send up to ten messages, and return when they are sent. Raises what JobQueue.send raises."""
        parcel = Parcel(bodies, attributes)
        with self._changing:
            self._waiting.append(parcel)
        with self._calls:
            # Another caller may have taken it along by now; if not, it is among the first that wait.
            while not parcel.sent.done() and (some := self._take()):
                self._call(some)
        parcel.sent.result()

    def _take(self) -> list[Parcel]:
        """The parcels of the next call."""
        taken: list[Parcel] = []
        size = 0
        with self._changing:
            while self._waiting and size + len(self._waiting[0].bodies) <= CALL_MESSAGES:
                taken.append(self._waiting.popleft())
                size += len(taken[-1].bodies)
        return taken

    def _call(self, parcels: Sequence[Parcel]) -> None:
        try:
            self._requests.send(
                [body for one in parcels for body in one.bodies], [own for one in parcels for own in one.attributes]
            )
        except BaseException as error:  # whatever it is, those who wait must hear of it
            for one in parcels:
                one.sent.set_exception(error)
        else:
            for one in parcels:
                one.sent.set_result(None)
