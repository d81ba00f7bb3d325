"""What the clients of a torture run sent, and what they were told. It knows nothing of the system."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.torture import bad_photos, colours

UNREACHED = "the address did not give the file"  # in time: the web process was stopped meanwhile
MOST_WRONG = 40  # sentences that are kept


@dataclass(frozen=True, slots=True)
class SentPhoto:
    """A photo of a client. name: belongs to it alone. label: what it must get; empty for a hostile one."""

    name: str
    payload: bytes = field(repr=False)
    label: str

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.name.rpartition(".")[0]


class Account:
    """All photos of a run. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._names: dict[str, SentPhoto] = {}
        self.accepted: dict[str, SentPhoto] = {}  # by key
        self.told: dict[str, Mapping[str, Any]] = {}  # what was said when it was accepted, by key
        self.cancelled: set[str] = set()  # batches
        self.killed: set[str] = set()  # machines whose worker was killed
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def draw(self, choice: random.Random, hostile_share: float) -> SentPhoto:
        """A new photo."""
        with self._lock:
            self._number += 1
            number = self._number
        if choice.random() < hostile_share:
            payload, suffix = bad_photos.draw(choice)
            photo = SentPhoto(f"bad-{number}.{suffix}", payload, "")
        else:
            payload, suffix, label = colours.draw(choice)
            photo = SentPhoto(f"good-{number}.{suffix}", payload, label)
        with self._lock:
            self._names[photo.name] = photo
        self.count("hostile photos sent" if not photo.label else "good photos sent")
        return photo

    def accept(self, batch: str, told: Iterable[Mapping[str, Any]], sent: Mapping[str, SentPhoto]) -> None:
        """Note what an answer says of photos: each has index, name, and a status or state.

        sent: the photos that were sent with the request, by name.
        """
        for one in told:
            photo = sent.get(one["name"])
            if photo is None:
                self.complain(f"batch {batch} was told of {one['name']}, which it had not sent")
            elif one.get("status", one.get("state")) != "failed":
                key = f"{batch}/{one['index']:05d}/{one['name']}"
                with self._lock:
                    self.accepted[key], self.told[key] = photo, one
            else:
                self.count("photos refused")
                if photo.label and not self._is_unreached(one):
                    self.complain(f"{batch}/{photo.name}, a good photo, is refused: {one.get('error')}")

    def check_shown(self, batch: str, told: Iterable[Mapping[str, Any]], sent: Mapping[str, SentPhoto]) -> None:
        """Compare the photos that are shown of a batch with those that were sent to it."""
        for one in told:
            photo = sent.get(one["name"])
            if photo is None:
                self.complain(f"batch {batch} shows {one['name']}, which is not its own")
            elif one["state"] == "done" and photo.label and one["label"] != photo.label:
                self.complain(f"{batch}/{photo.name} shows {one['label']}, and it is {photo.label}")
            elif one["state"] == "failed" and photo.label and not self._is_unreached(one):
                self.complain(f"{batch}/{photo.name}, a good photo, failed: {one.get('error')}")

    def _is_unreached(self, told: Mapping[str, Any]) -> bool:
        """Whether a photo was not fetched from its address in time."""
        if str(told.get("error")).startswith(UNREACHED):
            self.count("looks at photos whose address was not reached in time")
            return True
        return False

    def cancel(self, batch: str) -> None:
        """A client asks to cancel a batch."""
        with self._lock:
            self.cancelled.add(batch)

    def of_name(self, name: str) -> SentPhoto | None:
        """The photo of a name."""
        with self._lock:
            return self._names.get(name)

    def count(self, what: str, by: int = 1) -> None:
        """Count for the table."""
        with self._lock:
            self.counts[what] += by

    def complain(self, sentence: str) -> None:
        """Note that something is wrong."""
        with self._lock:
            if len(self.wrong) < MOST_WRONG:
                self.wrong.append(sentence)
