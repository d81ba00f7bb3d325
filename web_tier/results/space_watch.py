"""Remembers that a bucket is full until it takes an object again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shoal.errors import StorageFull
from shoal.ports import ObjectStore, StoredObject

PROBE_KEY = "-space/probe"  # no photo has this key


class SpaceWatch:
    """An ObjectStore around another one. Safe for many threads.

    S3 on AWS is never full; the embedded cloud and other stores that speak S3 can be.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._refused_bytes: int | None = None  # the size of the last object that had no space

    def check(self) -> None:
        """Raise StorageFull while the bucket is full: an object of the size that was refused is written and deleted."""
        if self._refused_bytes is not None:
            self.put(PROBE_KEY, bytes(self._refused_bytes), "application/octet-stream")
            self.delete(PROBE_KEY)

    def put(self, key: str, body: bytes, content_type: str) -> None:
        """As the store does."""
        with self._noting(len(body)):
            self._store.put(key, body, content_type)

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:
        """As the store does."""
        with self._noting(len(body)):
            return self._store.put_new(key, body, content_type)

    @contextmanager
    def _noting(self, size: int) -> Iterator[None]:
        try:
            yield
        except StorageFull:
            self._refused_bytes = size
            raise
        if self._refused_bytes is not None and size >= self._refused_bytes:
            self._refused_bytes = None

    def get(self, key: str) -> bytes:
        """As the store does."""
        return self._store.get(key)

    def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:
        """As the store does."""
        return self._store.list(prefix, after, most)

    def delete(self, key: str) -> None:
        """As the store does."""
        self._store.delete(key)
