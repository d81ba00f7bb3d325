"""A list in a bucket as the stream of a run's photos. Workers read it, so the run goes on without who began it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from runs.lists.lines import lines_of
from runs.lists.reading import INVENTORY, Inventory, read_inventory, read_line
from runs.manifest import BulkPhoto
from runs.run import Run, split_address
from shoal.ports import Buckets


def part_name(number: int) -> str:
    """What the name of a part of a list ends in, that a client has stored in parts."""
    return f"{number:08d}"


class ListSource:
    """Cursors tell the file and the byte: `0:1234`. A photo that the list names twice comes twice."""

    def __init__(self, run: Run, buckets: Buckets) -> None:
        self._run = run
        self._buckets = buckets
        self._bucket, self._key = split_address(run.list_at)

    @cached_property
    def _inventory(self) -> Inventory | None:
        if self._run.list_kind != INVENTORY:
            return None
        return read_inventory(self._buckets[self._bucket].get(self._key))

    def _files(self) -> list[tuple[str, str]]:
        """The bucket and the key of each file with lines."""
        if self._inventory:
            return [(self._inventory.kept_in, key) for key in self._inventory.files]
        parts = range(self._run.list_parts)
        return [(self._bucket, self._key + part_name(one)) for one in parts] or [(self._bucket, self._key)]

    def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
        """See `runs.sources.PhotoSource`. Raises NotFound and Permanent, too, where the list cannot be read."""
        first, _, byte = (after or "0:0").partition(":")
        start = int(byte)
        columns = self._inventory.columns if self._inventory else ()
        for number, (bucket, key) in list(enumerate(self._files()))[int(first) :]:
            for end, line in lines_of(self._buckets[bucket], key, start, key.endswith(".gz")):
                photo = read_line(self._run.list_kind, line, self._run.bucket, columns)
                if photo:
                    yield f"{number}:{end}", photo
            start = 0
