"""What a run costs, by part. Pure. The prices of AWS' requests are those of us-east-1; check yours."""

from __future__ import annotations

from runs.records import ListingState
from runs.run import Run

GET = 0.4 / 1_000_000  # dollars for a request
PUT = 5.0 / 1_000_000
MESSAGE = 0.4 / 1_000_000
PAGE_KEYS = 1000  # of a listing, which costs as much as a PUT
STORED = 0.023  # dollars a GB and month
ROW_BYTES = 600  # of the results of a photo, about
SHARD_PUTS = 3 + 6  # its manifest, its results, its mark; looks at what is there are listings
SHARD_GETS = 4  # run, control, manifest, results when they are merged
SHARD_MESSAGES = 5  # sent, received, twice extended, deleted


def costs(run: Run, listed: ListingState, worker_seconds: float) -> dict[str, float]:
    """In dollars: computing by the workers' price, requests, and a month of storage of the results.

    All are 0 where a worker costs nothing.
    """
    if not run.price_per_hour:
        return {"computing": 0.0, "requests": 0.0, "storage_month": 0.0, "total": 0.0}
    computing = worker_seconds / 3600 * run.price_per_hour
    puts = listed.shards * SHARD_PUTS + listed.seen / PAGE_KEYS
    requests = (
        puts * PUT + (listed.images + listed.shards * SHARD_GETS) * GET + listed.shards * SHARD_MESSAGES * MESSAGE
    )
    storage = 2 * listed.images * ROW_BYTES / 1e9 * STORED
    told = {"computing": computing, "requests": requests, "storage_month": storage}
    return {name: round(value, 6) for name, value in told.items()} | {"total": round(computing + requests, 6)}
