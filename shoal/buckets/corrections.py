"""Corrections: the labels that people give to photos where the model was wrong, kept for a later training.

Each is an object in the output bucket, `corrections/<key of the photo>`. The web tier writes them; `shoal corrections`
makes a data set of them.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

from shoal.errors import MalformedMessage, NotFound, Permanent, Retryable
from shoal.messages import Job
from shoal.ports import Clock, ObjectStore
from shoal.safe_json import read_object

FOLDER = "corrections"
LONGEST = 60
# A label becomes the name of a folder in the data set.
_LABEL = re.compile(r"[\w&'()+-][\w&'()+.-]*")


def checked(text: str) -> str:
    """Convert a label to the form that is stored: `Hair  spray` -> `Hair_spray`. Raises Permanent for a wrong one."""
    label = "_".join(text.split())
    if not label:
        raise Permanent("Write what is in the photo.")
    if len(label) > LONGEST:
        raise Permanent(f"A label has at most {LONGEST} characters; yours has {len(label)}.")
    if not _LABEL.fullmatch(label):
        raise Permanent("A label is made of letters, digits, spaces and -_.&'()+ and does not begin with a dot.")
    return label


class Corrections:
    """The corrections of all batches. Every method may raise Retryable."""

    def __init__(self, outputs: ObjectStore, readers: ThreadPoolExecutor, clock: Clock) -> None:
        self._outputs = outputs
        self._readers = readers
        self._clock = clock

    def of(self, prefix: str) -> dict[str, str]:
        """Map the keys of corrected photos that begin with `prefix` to their labels."""
        keys = [one.key for one in self._outputs.list(f"{FOLDER}/{prefix}")]
        try:
            labels = list(self._readers.map(self._read, keys))
        except RuntimeError:
            raise Retryable("this program is stopping") from None
        return {key.partition("/")[2]: label for key, label in zip(keys, labels, strict=True) if label}

    def keep(self, job: Job, label: str, instead_of: str) -> None:
        """Store that `label` is right and the model's `instead_of` is wrong."""
        kept = {"v": 1, "key": job.key, "label": label, "instead_of": instead_of, "at": round(self._clock.now(), 3)}
        self._outputs.put(_place(job), json.dumps(kept, ensure_ascii=False).encode(), "application/json")

    def drop(self, job: Job) -> None:
        """Delete the correction."""
        self._outputs.delete(_place(job))

    def _read(self, key: str) -> str:
        try:
            label = read_object(self._outputs.get(key), "a correction")["label"]
        except (NotFound, MalformedMessage, KeyError):
            return ""  # deleted meanwhile, or not an object of ours
        return label if isinstance(label, str) else ""


def _place(job: Job) -> str:
    return f"{FOLDER}/{job.key}"
