"""A row of a run's results: a photo and what was said of it, without times: doing it twice gives the same. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from runs.manifest import BulkPhoto
from runs.run import Run
from shoal.errors import MalformedMessage
from shoal.messages import VERSION, Result
from shoal.safe_json import integer, number, read_object, text

NOT_IN_ROWS = ("v", "seconds", "worker", "cached")
_HASH = re.compile("[0-9a-f]{16}")
CHANGED = "the object was overwritten after it was listed"
GONE = "the object was deleted after it was listed"


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a picture itself.

    width, height: in pixels, upright; 0 when they are not known: of a failed photo, or in results of an older worker.
    hash:          64 bits as 16 hexadecimal digits, few of them other in copies of a picture; empty if not asked for.
    taken:         when, by the camera's clock, as 2026-07-01T12:00:00; empty if not asked for, or not known.
    latitude, longitude: where, in degrees; None if not asked for, or not known.
    """

    width: int = 0
    height: int = 0
    hash: str = ""
    taken: str = ""
    latitude: float | None = None
    longitude: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """What is known, in JSON types."""
        known: dict[str, Any] = {"width": self.width, "height": self.height} if self.width else {}
        known |= {name: value for name, value in (("hash", self.hash), ("taken", self.taken)) if value}
        if self.latitude is not None:
            known |= {"latitude": self.latitude, "longitude": self.longitude}
        return known

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Picture:
        """Raises MalformedMessage."""
        try:
            width, height = (integer(found.get(name, 0)) for name in ("width", "height"))
            hashed, taken = (text(found.get(name, "")) for name in ("hash", "taken"))
            place = [number(found[name]) for name in ("latitude", "longitude")] if "latitude" in found else [None, None]
            if hashed and not _HASH.fullmatch(hashed):
                raise ValueError(f"{hashed!r} is no hash")
            if taken:
                datetime.fromisoformat(taken)
            return cls(width, height, hashed, taken, *place)
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedMessage(f"not what is known of a picture: {error}") from error


UNKNOWN = Picture()


@dataclass(frozen=True, slots=True)
class BulkRow:
    """A photo, its result, and what is known of its picture. The result's key is the photo's."""

    entry: BulkPhoto
    result: Result
    picture: Picture = UNKNOWN

    @property
    def failed(self) -> bool:
        """Whether the photo could not be labelled."""
        return self.result.status == "failed"

    def to_dict(self) -> dict[str, Any]:
        """In JSON types: a line of the results."""
        told = {name: value for name, value in self.result.to_dict().items() if name not in NOT_IN_ROWS}
        return self.entry.to_dict() | self.picture.to_dict() | told

    @classmethod
    def from_line(cls, line: str | bytes) -> BulkRow:
        """Read a line of the results. Raises MalformedMessage."""
        found = read_object(line, "a row")
        result = Result.from_json(json.dumps(found | {"v": VERSION}))
        return cls(BulkPhoto.from_dict(found), result, Picture.from_dict(found))


def chosen_of(run: Run, result: Result) -> Result:
    """The result with the labels that the run asked for: the best `top`, none below the threshold."""
    most = run.top or None
    labels = tuple(one for one in result.labels if one.probability >= run.threshold)[:most]
    detections = tuple(one for one in result.detections if one.score >= run.threshold)
    return replace(result, labels=labels, detections=detections)
