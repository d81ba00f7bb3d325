"""Reads the results of finished runs, from a folder or a bucket, as a stream of photos. Nothing holds all rows."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

from runs.rows import BulkRow
from runs.run import FAILED_OF, S3, split_address
from shoal.errors import NotFound, Permanent
from shoal.messages import BATCH_PATTERN
from shoal.ports import Bucket, ObjectStore
from shoal.safe_json import read_object, text

_PART = re.compile(rf"labels-({BATCH_PATTERN.strip('^$')})-(\d+)\.jsonl")


@dataclass(frozen=True, slots=True)
class ExportPhoto:
    """A photo with its result.

    run:     the id of the run that labelled it.
    address: where the photo is, for the other tool: `s3://bucket/key`, or a path.
    """

    row: BulkRow
    run: str
    address: str


class ResultFiles(Protocol):
    """The files of results in one place."""

    def names(self) -> Iterator[str]:
        """The names of the files there, and perhaps of others."""

    def read(self, name: str) -> bytes:
        """A small file. Raises NotFound or FileNotFoundError."""

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file."""


class FolderResults:
    """The files of a folder, as `shoal label` and `shoal runs fetch` write them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> Iterator[str]:
        """See `ResultFiles`."""
        return (path.name for path in self._folder.iterdir())

    def read(self, name: str) -> bytes:
        """See `ResultFiles`."""
        return (self._folder / name).read_bytes()

    def lines(self, name: str) -> Iterator[bytes]:
        """See `ResultFiles`."""
        with (self._folder / name).open("rb") as file:
            yield from file


class BucketResults:
    """The objects below a prefix. A part is read at once: about 32 MB of memory for each run of the place."""

    def __init__(self, bucket: Bucket | ObjectStore, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix

    def names(self) -> Iterator[str]:
        """See `ResultFiles`."""
        return (one.key.removeprefix(self._prefix) for one in self._bucket.list(f"{self._prefix}labels-"))

    def read(self, name: str) -> bytes:
        """See `ResultFiles`."""
        return self._bucket.get(self._prefix + name)

    def lines(self, name: str) -> Iterator[bytes]:
        """See `ResultFiles`."""
        return BytesIO(self.read(name))


def exported(files: ResultFiles, run: str = "", photos: str = "") -> Iterator[ExportPhoto]:
    """The photos of one run, or of all runs of the place: a photo that several have labelled once, by the last of them.

    photos: what the address of a photo begins with, before its key; empty for where the run found it.

    Raises Permanent when there are no results, or when it is not known where the photos are.
    """
    parts: dict[str, list[tuple[int, str]]] = {}
    for name in files.names():
        if (found := _PART.fullmatch(name)) and run in ("", found[1]):
            parts.setdefault(found[1], []).append((int(found[2]), name))
    if not parts:
        raise Permanent("there are no results of a run: labels-*.jsonl")
    sources = {one: _source(files, one) for one in parts}
    streams = []
    for number, one in enumerate(sorted(parts, reverse=True)):  # ids sort by time: the last run comes first
        start = photos or _start(sources, one)
        names = [name for _, name in sorted(parts[one])]
        streams.append(_photos(files, names, one, start, number))
    return _once(streams)


def start_of(source: str) -> str:
    """What stands before the keys of the photos of a source: a bucket, or a folder."""
    return f"{S3}{split_address(source)[0]}/" if source.startswith(S3) else f"{source.rstrip('/')}/"


def _once(streams: list[Iterator[tuple[str, str, int, ExportPhoto]]]) -> Iterator[ExportPhoto]:
    """Runs list in the order of the keys, so the same photo comes from all of them one after another."""
    last: tuple[str, str] | None = None
    merged = heapq.merge(*streams, key=lambda one: one[:3]) if len(streams) > 1 else streams[0]
    for key, address, _, photo in merged:
        if (key, address) != last:
            yield photo
        last = (key, address)


def _photos(
    files: ResultFiles, names: list[str], run: str, start: str, number: int
) -> Iterator[tuple[str, str, int, ExportPhoto]]:
    for name in names:
        for line in files.lines(name):
            row = BulkRow.from_line(line)
            elsewhere = row.entry.bucket and not row.entry.at  # a photo of a list; of a folder it is a copy
            address = f"{S3}{row.entry.bucket}/{row.entry.key}" if elsewhere else f"{start}{row.entry.key}"
            yield row.entry.key, address, number, ExportPhoto(row, run, address)


def _source(files: ResultFiles, run: str) -> str:
    name = f"summary-{run}.json"
    try:
        found = read_object(files.read(name), "a summary")
        return text(found.get("photos") or found["source"])
    except (KeyError, TypeError, ValueError) as error:
        raise Permanent(f"{name} does not tell the source of the run") from error
    except (FileNotFoundError, NotFound):
        raise Permanent(f"there is no {name}: run {run} is not finished, or not all of it is here") from None


def _start(sources: dict[str, str], run: str) -> str:
    """What stands before the keys of a run's photos. A run that tried again has the photos of another."""
    source = sources[run]
    while source.startswith(FAILED_OF):
        if (other := source.removeprefix(FAILED_OF)) not in sources:
            raise Permanent(f"where the photos of run {run} are is told by run {other}, which is not here: --photos")
        source = sources[other]
    return start_of(source)
