"""A step of a run's listing: so many keys are read, manifests are written, shards are sent. It may be done again.

Each step begins where the step before it has ended. A manifest is written once: a worker that does the same step again,
or at the same time, finds it and goes on after its last key. So every key is in one manifest, even if the bucket
changes meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from runs.manifest import BulkPhoto, Manifest
from runs.orders import LabelShard, ListOn
from runs.records import ListingState, RunRecords
from runs.run import Run
from runs.sources import PhotoSource, is_photo_of
from shoal.errors import MalformedMessage
from shoal.ports import JobQueue

Stream = Iterator[tuple[str, BulkPhoto]]

STEP_KEYS = 20_000
FIRST_STEP_KEYS = 2_000  # shards are sent at the end of a step, and the first labels should come soon
STEP_SECONDS = 10.0
SENT_AT_ONCE = 10  # what a queue takes in a call


class Step:
    """Lists on.

    known: photos that need not be labelled again.
    store: called with the photos of a shard before its manifest is written: puts them where the workers read them.
    steady: seconds of a clock that only grows.
    """

    def __init__(
        self,
        records: RunRecords,
        queue: JobQueue,
        run: Run,
        source: PhotoSource,
        known: Callable[[BulkPhoto], bool] | None = None,
        store: Callable[[Sequence[BulkPhoto]], object] | None = None,
        steady: Callable[[], float] = time.monotonic,
        step_keys: int = STEP_KEYS,
    ) -> None:
        self._records = records
        self._queue = queue
        self._run = run
        self._source = source
        self._chosen = is_photo_of(run)
        self._known = known or (lambda _: False)
        self._store = store or (lambda _: None)
        self._steady = steady
        self._step_keys = step_keys
        self._room = step_keys  # of the step in work

    def do(self, number: int) -> ListingState:
        """Do the step of this number; then the next has its message, or the listing is done."""
        run = self._run.id
        self._room = self._step_keys if number else min(FIRST_STEP_KEYS, self._step_keys)
        before = self._before(number)
        after = self._records.step(run, number)
        if after is None:
            after = self._list(before)
            after = self._records.add_step(run, number, after)
        elif self._records.step(run, number + 1) or self._records.listed(run):
            return after  # its messages were sent: the next step would not be done otherwise
        self._send_shards(before.shards, after.shards)
        if after.done:
            self._records.set_listed(run, after)
        elif not self._run.listed_here:
            self._queue.send([ListOn(run, number + 1).to_json()])
        return after

    def _before(self, number: int) -> ListingState:
        if number == 0:
            return ListingState()
        before = self._records.step(self._run.id, number - 1)
        if before is None:
            raise MalformedMessage(f"step {number} of the listing comes before the one that it continues")
        return before

    def _list(self, before: ListingState) -> ListingState:
        """Write the manifests of this step."""
        listed, began = before, self._steady()
        done = False
        while not done and listed.seen - before.seen < self._room and self._steady() - began < STEP_SECONDS:
            listed, done = self._write(listed)
        return replace(listed, done=done)

    def _write(self, listed: ListingState) -> tuple[ListingState, bool]:
        """Write manifests from one reading of the source, until a step's end. Returns whether the listing is done."""
        limit = self._run.limit
        began, seen_before = self._steady(), listed.seen
        entries = self._source.entries(listed.after)
        while True:
            size = self._run.images_of(listed.shards)
            size = min(size, limit - listed.images) if limit else size
            if size <= 0:
                return listed, True
            room = self._room - (listed.seen - seen_before)
            manifest, ended = self._gather(entries, size, room, began)
            if manifest.entries:
                self._store(manifest.entries)
                written = self._records.add_manifest(self._run.id, listed.shards, manifest)
                listed = listed.with_shard(written)
                if written != manifest:
                    return listed, False  # another worker's shard ends elsewhere: read again from there
            else:
                listed = listed.with_shard(manifest)
            if ended:
                return listed, True
            if listed.seen - seen_before >= self._room or self._steady() - began >= STEP_SECONDS:
                return listed, False

    def _gather(
        self, entries: Iterator[tuple[str, BulkPhoto]], size: int, room: int, began: float
    ) -> tuple[Manifest, bool]:
        """The photos of the next shard. Returns whether the source has ended."""
        found: list[BulkPhoto] = []
        through, seen = "", 0
        for through, entry in entries:
            seen += 1
            if self._chosen(entry) and not self._known(entry):
                found.append(entry)
            if len(found) >= size or seen >= room or (seen % 1000 == 0 and self._steady() - began >= STEP_SECONDS):
                return Manifest(tuple(found), through, seen), False
        return Manifest(tuple(found), through, seen), True

    def _send_shards(self, first: int, end: int) -> None:
        for start in range(first, end, SENT_AT_ONCE):
            numbers = range(start, min(end, start + SENT_AT_ONCE))
            self._queue.send([LabelShard(self._run.id, number).to_json() for number in numbers])
