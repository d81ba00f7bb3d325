"""Records in the output bucket that are worth nothing after a day.

They are idempotency keys, sessions, counts of photos that ended a worker's process, why photos went back to the queue,
and counts of what users sent today.
"""

from __future__ import annotations

from shoal.buckets.failures import FAILURES
from shoal.ports import ObjectStore

IDEMPOTENCY = "idempotency"
SESSIONS = "sessions"
SUSPECTS = "suspects"
COUNTS = "accounts/counts"
KEPT_SECONDS = 24 * 3600.0


def remove_old(outputs: ObjectStore, now: float) -> None:
    """Remove what is older than a day. now: seconds since 1970, by the store's clock. May raise Retryable."""
    for folder in (IDEMPOTENCY, SESSIONS, SUSPECTS, FAILURES, COUNTS):
        for record in list(outputs.list(f"{folder}/")):
            if now - record.modified_at > KEPT_SECONDS:
                outputs.delete(record.key)
