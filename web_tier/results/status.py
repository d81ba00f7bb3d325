"""What goes on with a batch, in one sentence. Pure."""

from __future__ import annotations

from web_tier.results.batches import Batch
from web_tier.results.hub import PoolState
from web_tier.words import duration, number, photos, plural


def status_of(batch: Batch, pool: PoolState | None, unsent: int = 0) -> str:
    """The sentence for a batch. unsent: photos that a page could not send, which count as failed."""
    failed = batch.count("failed") + unsent
    return status_line(batch.total + unsent, batch.count("queued"), failed, batch.seconds, pool)


def status_line(total: int, queued: int, failed: int, seconds: float, pool: PoolState | None) -> str:
    """The sentence for a batch of `total` photos, `queued` of which have no answer yet.

    seconds: from its first photo to its last answer, said once all are answered.
    """
    if not total:
        return "Waiting for photos"
    if not queued:
        tail = f", {number(failed)} of them failed" if failed else ""
        return f"Done: {photos(total)} in {duration(seconds)}{tail}"
    labelling = f"Labelling: {number(total - queued)} of {number(total)}"
    if pool is None:
        return labelling
    if workers := pool.running + pool.draining:
        return f"{labelling}, {number(workers)} {plural(workers, 'worker')}"
    if pool.pending:
        return f"Waiting for a worker: {number(pool.pending)} {'is' if pool.pending == 1 else 'are'} starting"
    return "Waiting for a worker: none is running yet"
