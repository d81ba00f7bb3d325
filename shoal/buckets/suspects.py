"""Photos that ended a worker's process or broke its engine, and how often: they are tried alone, and fail at last.

A record is an object in the output bucket, `suspects/<batch>/<SHA-256 of the photo's key>`. It is worth nothing after
a day.
When two workers count the same photo at the same moment, one of the two may be lost.
"""

from __future__ import annotations

import hashlib
import json

from shoal.buckets.passing_records import SUSPECTS
from shoal.errors import MalformedMessage, NotFound
from shoal.messages import is_batch
from shoal.ports import ObjectStore
from shoal.safe_json import integer, read_object

GIVEN_UP = "labelling was tried several times and no worker finished it; try again, or try another photo"


def times(outputs: ObjectStore, key: str) -> int:
    """How often this photo was counted. May raise Retryable."""
    path = path_of(key)
    # S3 tells a missing object from a forbidden one only to roles that may list, and workers may list this folder only.
    if not any(one.key == path for one in outputs.list(path)):
        return 0
    try:
        return max(0, integer(read_object(outputs.get(path)).get("times")))
    except (NotFound, MalformedMessage, TypeError, ValueError):
        return 0


def count(outputs: ObjectStore, key: str) -> int:
    """Count this photo once more; returns how often it was counted now. May raise Retryable."""
    now = times(outputs, key) + 1
    outputs.put(path_of(key), json.dumps({"key": key, "times": now}).encode(), "application/json")
    return now


def path_of(key: str) -> str:
    """Where the record of a photo is."""
    batch = key.partition("/")[0]
    folder = batch if is_batch(batch) else "-"
    return f"{SUSPECTS}/{folder}/{hashlib.sha256(key.encode(errors='replace')).hexdigest()}"
