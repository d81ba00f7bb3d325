"""Numbers of classes, for formats that name a class by its number."""

from __future__ import annotations


class ClassNumbers:
    """The model's own numbers where they are known and free; models may use one number for two classes."""

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}
        self._taken: set[int] = set()

    def of(self, name: str, wished: int | None) -> int:
        """The number of a class. wished: the one that its model gives it."""
        if name not in self.by_name:
            free = wished is not None and wished not in self._taken
            number = wished if free and wished is not None else max(self._taken, default=-1) + 1
            self.by_name[name] = number
            self._taken.add(number)
        return self.by_name[name]
