"""Sends the request messages of many requests in one call."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from shoal.ports import JobQueue

CALL_MESSAGES = 10  # what SQS takes in one call


@dataclass(eq=False, slots=True)
class _Parcel:
    """The messages of one caller, at most ten. leads: False when they are sent; True when its caller is to send."""

    bodies: Sequence[str]
    attributes: Sequence[Mapping[str, str]]
    since: float = field(default_factory=time.monotonic)
    leads: Future[bool] = field(default_factory=Future)


class Outbox:
    """Sends one call at a time, for two would carry half as many messages each. Safe for many threads.

    A single message goes at once. During a call the messages of other requests gather. Then the caller that waits
    longest sends them all: under load ten photos of ten requests cost one call. It alone is woken for that: hundreds of
    threads that waited for one lock would wake one another, and send nothing meanwhile.

    queued: called after each call.
    """

    def __init__(self, requests: JobQueue, queued: Callable[[], None]) -> None:
        self._requests = requests
        self._queued = queued
        self._waiting: deque[_Parcel] = deque()
        self._calling = False
        self._changing = threading.Lock()

    @property
    def wait_seconds(self) -> float:
        """How long the oldest messages wait for their call."""
        with self._changing:
            return time.monotonic() - self._waiting[0].since if self._waiting else 0.0

    def send(self, bodies: Sequence[str], attributes: Sequence[Mapping[str, str]]) -> None:
        """Send up to ten messages, and return when they are sent. Raises what JobQueue.send raises."""
        parcel = _Parcel(bodies, attributes)
        with self._changing:
            self._waiting.append(parcel)
            leads, self._calling = not self._calling, True
        if leads or parcel.leads.result():
            self._call()

    def _call(self) -> None:
        """Send the oldest parcels, of which the first is the caller's own. Then another caller sends the next."""
        own, *others = self._take()
        try:
            self._requests.send(
                [body for parcel in (own, *others) for body in parcel.bodies],
                [one for parcel in (own, *others) for one in parcel.attributes],
            )
        except BaseException as error:  # every caller that waits must get it
            for parcel in others:
                parcel.leads.set_exception(error)
            raise
        else:
            self._queued()
            for parcel in others:
                parcel.leads.set_result(False)
        finally:
            self._hand_over()

    def _take(self) -> list[_Parcel]:
        """The parcels of the next call."""
        taken: list[_Parcel] = []
        size = 0
        with self._changing:
            while self._waiting and size + len(self._waiting[0].bodies) <= CALL_MESSAGES:
                taken.append(self._waiting.popleft())
                size += len(taken[-1].bodies)
        return taken

    def _hand_over(self) -> None:
        with self._changing:
            self._calling = bool(self._waiting)
            if self._calling:
                self._waiting[0].leads.set_result(True)
