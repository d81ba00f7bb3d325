"""The end of a run: are all shards done, and their results put together in a few large objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runs.costs import costs
from runs.records import CANCELLED, DoneShard, ListingState, RunRecords
from runs.rows import BulkRow
from runs.run import JSON, JSON_LINES, S3, Run, folder_of, split_address
from shoal.ports import Bucket, Buckets, Cloud, ObjectStore

PART_BYTES = 32_000_000  # a worker that puts parts together needs three times as much memory


@dataclass
class DoneShards:
    """What is known of the shards of a run that are done: those before the first gap are never looked at again."""

    next: int = 0
    images: int = 0
    failed: int = 0
    seconds: float = 0.0
    beyond: int = field(default=0, compare=False)
    failed_beyond: int = field(default=0, compare=False)
    seconds_beyond: float = field(default=0.0, compare=False)

    def look(self, records: RunRecords, run: str, seen: Callable[[DoneShard], object] = lambda _: None) -> None:
        """Look once more. beyond: images of shards behind the first gap; the other counts are without them.

        seen: called for each shard that this look finds done.
        """
        self.beyond = self.failed_beyond = 0
        self.seconds_beyond = 0.0
        gap = False
        for one in records.done_after(run, self.next - 1):
            seen(one)
            gap = gap or one.shard != self.next
            if gap:
                self.beyond += one.images
                self.failed_beyond += one.failed
                self.seconds_beyond += one.seconds
                continue
            self.next += 1
            self.images += one.images
            self.failed += one.failed
            self.seconds += one.seconds

    def all(self, listed: ListingState | None) -> bool:
        """Whether the listing is done and so is every shard."""
        return listed is not None and self.next >= listed.shards


class Place:
    """Where a run's results go: a prefix of a bucket, or its own folder in the output bucket."""

    def __init__(self, run: Run, outputs: ObjectStore, buckets: Buckets) -> None:
        self._run = run.id
        self.bucket: ObjectStore | Bucket = outputs
        self.prefix = f"{folder_of(run.id)}labels/"
        if run.target.startswith(S3):
            bucket, prefix = split_address(run.target)
            self.bucket = buckets[bucket]
            self.prefix = f"{prefix.rstrip('/')}/" if prefix else ""

    def put(self, name: str, body: bytes, content_type: str) -> str:
        """Write an object; returns its key."""
        self.bucket.put(self.prefix + name, body, content_type)
        return self.prefix + name

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The names and bytes of what a finished run has put there."""
        for kind in ("labels", "failed", "summary"):
            for one in self.bucket.list(f"{self.prefix}{kind}-{self._run}"):
                yield one.key.removeprefix(self.prefix), self.bucket.get(one.key)


def merge(cloud: Cloud, run: Run, stopping: Callable[[], bool] = lambda: False) -> bool:
    """Put the results together and write the summary. Doing it again writes the same. Returns False when stopped."""
    records = RunRecords(cloud.outputs)
    if records.summary(run.id):
        return True
    listed = records.listed(run.id) or records.last_step(run.id)[1]
    done = list(records.done_after(run.id, -1))
    place = Place(run, cloud.outputs, cloud.buckets)
    parts: list[dict[str, object]] = []
    rows, failed = 0, 0
    for body in _parts(records, run, [one.shard for one in done]):
        if stopping():
            return False
        lines = body.splitlines(keepends=True)
        rows += len(lines)
        bad = [line for line in lines if b'"status":"failed"' in line and BulkRow.from_line(line).failed]
        if bad:
            place.put(f"failed-{run.id}-{len(parts):05d}.jsonl", b"".join(bad), JSON_LINES)
        failed += len(bad)
        key = place.put(f"labels-{run.id}-{len(parts):05d}.jsonl", body, JSON_LINES)
        first, last = BulkRow.from_line(lines[0]).entry.key, BulkRow.from_line(lines[-1]).entry.key
        parts.append({"key": key, "rows": len(lines), "first": first, "last": last})
    seconds = sum(one.seconds for one in done)
    summary = {
        "run": run.id,
        "source": run.source,
        "target": run.target,
        **({"photos": f"{S3}{run.bucket}/"} if run.list_kind else {}),
        "state": CANCELLED if records.control(run.id).state == CANCELLED else "done",
        "listed": listed.images,
        "labelled": rows - failed,
        "failed": failed,
        "shards": listed.shards,
        "worker_seconds": round(seconds, 1),
        "cost": costs(run, listed, seconds),
        "parts": parts,
    }
    place.put(f"summary-{run.id}.json", json.dumps(summary, ensure_ascii=False, indent=1).encode(), JSON)
    records.set_summary(run.id, summary)
    return True


def _parts(records: RunRecords, run: Run, shards: list[int]) -> Iterator[bytes]:
    """The results of the shards in order, as few objects as there may be."""
    gathered: list[bytes] = []
    size = 0
    for shard in shards:
        lines = records.results(run.id, shard) or b""
        if gathered and size + len(lines) > PART_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
        if lines:
            gathered.append(lines)
            size += len(lines)
    if gathered:
        yield b"".join(gathered)
