"""Finds what was accepted and forgotten: dead letters, and photos that have neither a result nor a message.

This is how nothing is lost when a queue is, or when a process dies between writing an object and queueing it.
"""

from __future__ import annotations

import logging

from shoal.errors import MalformedMessage
from shoal.messages import Job, Result, batch_floor
from shoal.ports import Clock, Cloud, Received

log = logging.getLogger(__name__)

DAY_SECONDS = 24 * 3600.0
SEND_AT_ONCE = 100
GIVEN_UP = "labelling was tried several times and no worker finished it; try again, or try another photo"


class Sweeper:
    """Looks over the buckets and the dead-letter queue.

    reply_to:      the queue that responses of queued-again photos go to.
    after_seconds: how old an input object must be before it can count as forgotten.
    days:          how far back the buckets are read.
    """

    def __init__(self, cloud: Cloud, clock: Clock, reply_to: str, after_seconds: float, days: float) -> None:
        self._cloud = cloud
        self._clock = clock
        self._reply_to = reply_to
        self._after_seconds = after_seconds
        self._days = days

    def sweep(self) -> None:
        """One look. Raises Retryable when the cloud cannot be read; the next look does what this one left."""
        buried = self.bury_dead_letters()
        if buried:
            log.warning("%d photos failed for good: their messages were in the dead-letter queue", buried)
        found = self.queue_forgotten()
        if found:
            log.warning("%d photos had neither a result nor a message: queued again", found)

    def bury_dead_letters(self) -> int:
        """Give every dead letter a failed result, so that whoever waits is told; returns how many."""
        buried = 0
        while letters := self._cloud.dead_letters.receive(10, 0):
            buried += sum(self._bury(letter) for letter in letters)
            self._cloud.dead_letters.delete([letter.receipt for letter in letters])
        return buried

    def _bury(self, letter: Received) -> bool:
        try:
            job = Job.from_json(letter.body)
        except MalformedMessage as error:
            log.error("dropped from the dead-letter queue: %s; it was: %.300s", error, letter.body)
            return False
        if any(one.key == job.key for one in self._cloud.outputs.list(job.key)):
            return False
        result = Result.failed(job.key, GIVEN_UP)
        self._cloud.outputs.put(job.key, result.to_json().encode(), "application/json")
        self._cloud.responses.send([result.to_json()])
        return True

    def queue_forgotten(self) -> int:
        """Queue again what has no result while the queue is empty; returns how many.

        Only an empty queue proves that a photo has no message. The counts may lag, hence two readings and an age;
        should they lie all the same, a photo is labelled twice with the same result.
        """
        if self._cloud.requests.depth().total:
            return 0
        forgotten = self._without_result()
        if not forgotten or self._cloud.requests.depth().total:
            return 0
        bodies = [Job.from_key(key, self._reply_to).to_json() for key in forgotten]
        for start in range(0, len(bodies), SEND_AT_ONCE):
            self._cloud.requests.send(bodies[start : start + SEND_AT_ONCE])
        return len(bodies)

    def _without_result(self) -> list[str]:
        now = self._clock.now()
        after = batch_floor(now - self._days * DAY_SECONDS)
        answered = {one.key for one in self._cloud.outputs.list("", after)}
        old = now - self._after_seconds
        waiting = (one.key for one in self._cloud.inputs.list("", after) if one.modified_at < old)
        return [key for key in waiting if key not in answered and _is_job(key)]


def _is_job(key: str) -> bool:
    try:
        Job.from_key(key, "")
    except MalformedMessage:
        return False
    return True
