"""A copy of a file of which parts are overwritten, within a limit: hostile files name the same part again and again."""

from __future__ import annotations

from shoal.errors import BadImage

_MORE_BYTES = 16 * 1024 * 1024


class Copy:
    """The copy. It begins as `original`."""

    def __init__(self, original: bytes) -> None:
        self._original = original
        self._bytes = bytearray(original)
        self._left = len(original) + _MORE_BYTES

    def __len__(self) -> int:
        return len(self._bytes)

    def overwrite(self, start: int, end: int, begin_with: bytes = b"") -> None:
        """Overwrite a part with zeros, after `begin_with` if that fits. Raises BadImage when it is too much in all."""
        end = min(end, len(self._bytes))
        if not 0 <= start < end:
            return
        self._left -= end - start
        if self._left < 0:
            raise BadImage("the image's directory names the same data too often")
        size = end - start
        self._bytes[start:end] = begin_with.ljust(size, b"\0") if len(begin_with) <= size else bytes(size)

    def rename(self, start: int, name: bytes) -> None:
        """Write a name of four bytes."""
        self._bytes[start : start + 4] = name

    def result(self) -> bytes:
        """The copy; the original itself when nothing changed."""
        return self._original if self._bytes == self._original else bytes(self._bytes)
