"""A row of a run's results: a photo and what was said of it, without times: doing it twice gives the same. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from runs.manifest import BulkPhoto
from runs.run import Run
from shoal.messages import VERSION, Result
from shoal.safe_json import read_object

NOT_IN_ROWS = ("v", "seconds", "worker", "cached")
CHANGED = "the object was overwritten after it was listed"
GONE = "the object was deleted after it was listed"


@dataclass(frozen=True, slots=True)
class BulkRow:
    """A photo and its result. The result's key is the photo's."""

    entry: BulkPhoto
    result: Result

    @property
    def failed(self) -> bool:
        """Whether the photo could not be labelled."""
        return self.result.status == "failed"

    def to_dict(self) -> dict[str, Any]:
        """In JSON types: a line of the results."""
        told = {name: value for name, value in self.result.to_dict().items() if name not in NOT_IN_ROWS}
        return self.entry.to_dict() | told

    @classmethod
    def from_line(cls, line: str | bytes) -> BulkRow:
        """Read a line of the results. Raises MalformedMessage."""
        found = read_object(line, "a row")
        return cls(BulkPhoto.from_dict(found), Result.from_json(json.dumps(found | {"v": VERSION})))


def chosen_of(run: Run, result: Result) -> Result:
    """The result with the labels that the run asked for: the best `top`, none below the threshold."""
    most = run.top or None
    labels = tuple(one for one in result.labels if one.probability >= run.threshold)[:most]
    detections = tuple(one for one in result.detections if one.score >= run.threshold)
    return replace(result, labels=labels, detections=detections)
