"""What earlier runs of the same source and target have labelled, as sorted streams: nothing holds all keys."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from runs.manifest import BulkPhoto
from runs.records import RunRecords
from runs.rows import BulkRow
from runs.run import FAILED_OF, Run

Known = tuple[str, str]  # a photo's key and etag


class Already:
    """Asked for photos in the order of their keys; it begins again when a key comes before the last one.

    A photo that has failed, that has changed since, or that another model has labelled, is not known.

    model: the one that labels now; empty for any.
    """

    def __init__(self, records: RunRecords, run: Run, model: str) -> None:
        self._records = records
        self._model = model
        self._runs = list(_earlier(records, run))
        self._last: str | None = None
        self._stream: Iterator[Known] = iter(())
        self._next: Known | None = None
        self._found: set[str] = set()  # the etags with which the last key was labelled

    def knows(self, photo: BulkPhoto) -> bool:
        """Whether this photo is labelled as it is now. May raise Retryable."""
        if self._last is None or photo.key < self._last:
            streams = [self._rows(one, photo.key) for one in self._runs]
            self._stream = heapq.merge(*streams)
            self._next = next(self._stream, None)
            self._found = set()
        elif photo.key != self._last:
            self._found = set()
        self._last = photo.key
        while self._next is not None and self._next[0] <= photo.key:
            if self._next[0] == photo.key:
                self._found.add(self._next[1])
            self._next = next(self._stream, None)
        return bool(photo.etag) and photo.etag in self._found

    def _rows(self, run: Run, key: str) -> Iterator[Known]:
        """What a run has labelled, in the order of the keys, from one at or before `key` on."""
        steps, listed = self._records.last_step(run.id)
        first = 0
        for number in range(0 if run.source.startswith(FAILED_OF) else steps):  # the cursors of others are their keys
            step = self._records.step(run.id, number)
            if step is None or step.after >= key:
                break
            first = step.shards
        for shard in range(first, listed.shards):
            for line in (self._records.results(run.id, shard) or b"").splitlines():
                row = BulkRow.from_line(line)
                if not row.failed and self._model in ("", row.result.model):
                    yield row.entry.key, row.entry.etag


def _earlier(records: RunRecords, run: Run) -> Iterator[Run]:
    """The runs from this source into this target, and those that tried again what had failed in them. Or the sample."""
    if not run.not_if_done:
        yield records.run(run.besides)
        return
    known: set[str] = set()
    for name in records.ids():
        if name == run.id:
            continue
        other = records.run(name)
        again = other.source.removeprefix(FAILED_OF) in known
        if other.target == run.target and (other.source == run.source or again):
            known.add(name)
            yield other
