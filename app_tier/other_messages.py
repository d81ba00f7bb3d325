"""Handles messages in the request queue that are no jobs: events of S3 announce photos, all others are kept.

Each is handled at its first delivery: in the queue it would keep workers up.
"""

from __future__ import annotations

import logging
from concurrent.futures import Executor

from app_tier.bucket_events import BucketEvents, read_event
from shoal.buckets import foreign_messages
from shoal.buckets.foreign_messages import ForeignMessage
from shoal.errors import MalformedMessage
from shoal.messages import SHOWN, Job
from shoal.ports import Cloud, Received

log = logging.getLogger(__name__)


class OtherMessages:
    """Used by one thread. aside: makes the calls to the cloud."""

    def __init__(self, cloud: Cloud, events: BucketEvents, aside: Executor) -> None:
        self._cloud = cloud
        self._events = events
        self._aside = aside

    def photo(self, message: Received, reason: str) -> Job | None:
        """The photo that a message announces. None for all others, which are deleted; what is foreign is kept first.

        reason: why the message is no job.
        """
        photo = None
        try:
            event = read_event(message.body)
            if event is None:
                raise MalformedMessage(reason)
            photo = self._events.photo(event)
        except MalformedMessage as error:
            self._aside.submit(self._remove, message, ForeignMessage(message.body, str(error)))
        else:
            if photo is None:
                self._aside.submit(self._remove, message, None)
        return photo

    def _remove(self, message: Received, kept: ForeignMessage | None) -> None:
        """Delete a message, after a copy is stored. If the cloud does not answer, it comes back later."""
        try:
            if kept:
                foreign_messages.keep(self._cloud.outputs, kept)
                log.error(
                    "moved from the request queue to the output bucket, see `shoal dlq list`: %s; it is: %s",
                    kept.reason,
                    ascii(kept.body[:SHOWN]),
                )
            self._cloud.requests.delete([message.receipt])
        except Exception as error:
            log.warning("a message that is no job comes back after its visibility timeout: %s", error)
