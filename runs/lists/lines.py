"""The lines of an object of any size, from any byte on: a part of it at a time is in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from shoal.errors import Permanent
from shoal.ports import Bucket

PART_BYTES = 1_000_000  # read in a call
LONGEST = 16_000  # bytes of a line that are kept: a key has 1,024 at most, twelve times as many as JSON at the worst
GZIP = 31  # the format, as zlib counts them

Line = tuple[int, bytes]


def lines_of(bucket: Bucket, key: str, start: int = 0, packed: bool = False) -> Iterator[Line]:
    """The lines from the byte `start` on, without their ends, each with the number of the byte behind its end.

    packed: the object is gzip; bytes are counted after it is unpacked, and it is read from its beginning.
    May raise Retryable, NotFound, and Permanent when it is no gzip.
    """
    if not packed:
        return _split(_parts(bucket, key, start), start)
    return (line for line in _split(_unpacked(_parts(bucket, key, 0), key), 0) if line[0] > start)


def _parts(bucket: Bucket, key: str, start: int) -> Iterator[bytes]:
    while part := bucket.get_part(key, start, PART_BYTES):
        yield part
        start += len(part)


def _unpacked(parts: Iterable[bytes], key: str) -> Iterator[bytes]:
    """In parts that are no larger than those read. An object may have several gzip files one after another."""
    unpack = zlib.decompressobj(GZIP)
    try:
        for part in parts:
            rest = part
            while rest:
                if unpack.eof:
                    unpack = zlib.decompressobj(GZIP)
                yield unpack.decompress(rest, PART_BYTES)
                rest = unpack.unconsumed_tail or unpack.unused_data
    except zlib.error as error:
        raise Permanent(f"{key} is no gzip file: {error}") from error
    if not unpack.eof:
        raise Permanent(f"{key} is a gzip file without its end")


def _split(parts: Iterable[bytes], at: int) -> Iterator[Line]:
    kept, length = b"", 0  # of the line that has not ended: its first bytes, and how many it has
    for part in parts:
        *whole, rest = part.split(b"\n")
        for one in whole:
            at += length + len(one) + 1
            yield at, (kept + one)[:LONGEST]
            kept, length = b"", 0
        length += len(rest)
        kept = (kept + rest)[:LONGEST]
    if length:
        yield at + length, kept
