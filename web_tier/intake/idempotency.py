"""Idempotency keys: a request that is sent again, because its answer was lost, makes no second batch.

The first request with a key stores which batch it makes. A later request with the same key works on the same batch. It
writes the same objects again, which is harmless, and so completes what the first request left undone. Two requests
with one key are the same request when their bodies and their parameters are equal. So somebody else who uses the same
key learns nothing. A key is forgotten after a day. It is forgotten at once if its first request is refused, so that the
corrected one may have it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from shoal.buckets import passing_records
from shoal.errors import MalformedMessage, NotFound
from shoal.messages import is_batch
from shoal.ports import Clock, ObjectStore
from shoal.safe_json import read_object
from web_tier.intake.form_header import parameters
from web_tier.problems import Problem
from web_tier.schemas.check import RequestCheck
from web_tier.schemas.requests import IDEMPOTENCY_KEY

CHUNK_BYTES = 1024 * 1024

check_key = RequestCheck(IDEMPOTENCY_KEY, "The Idempotency-Key")  # raises Problem (400) for an invalid key


@dataclass(frozen=True, slots=True)
class Claim:
    """The batch that a request works on.

    complete: an earlier request with the same key has finished its intake. repeated: there was an earlier request.
    forget:   makes the key free again.
    """

    batch: str
    complete: bool
    finish: Callable[[], None]
    forget: Callable[[], None]
    repeated: bool = False

    @contextmanager
    def intake(self) -> Iterator[None]:
        """Around the intake: finishes the claim. A first request that is refused, with a status of 4xx, makes its key
        free: nothing of it was accepted."""
        try:
            yield
        except Problem as refused:
            if refused.status < 500 and not self.repeated:
                self.forget()
            raise
        self.finish()


def body_digest(body: IO[bytes], content_type: str) -> str:
    """A digest of a request's body, without the boundary of a form: clients choose a new one each time.

    body: is read to its end and turned back to its start.
    """
    digest = hashlib.sha256()
    boundary = parameters(content_type).get("boundary", "").encode("latin-1", "replace")
    kept = b""
    while data := body.read(CHUNK_BYTES):
        # The end of a chunk may be the start of a boundary, so it waits for the next chunk.
        whole = (kept + data).replace(boundary, b"") if boundary else data
        end = len(whole) - max(len(boundary) - 1, 0)
        digest.update(whole[: max(end, 0)])
        kept = whole[max(end, 0) :]
    digest.update(kept)
    body.seek(0)
    return digest.hexdigest()


def claim(outputs: ObjectStore, clock: Clock, key: str, fingerprint: str, fresh: str) -> Claim:
    """The batch of a request: `fresh`, or the batch that the first request with the same key made within a day.

    fingerprint: equal for two requests that are the same.
    Raises Problem: 422 for a key that another request used, 409 for a record that cannot be read. May raise Retryable.
    """
    path = f"{passing_records.IDEMPOTENCY}/{hashlib.sha256(key.encode()).hexdigest()}"
    record: dict[str, Any] = {"batch": fresh, "request": fingerprint, "complete": False, "at": clock.now()}
    if not outputs.put_new(path, _json(record), "application/json"):
        known = _read(outputs, path)
        if clock.now() - known["at"] < passing_records.KEPT_SECONDS:
            record = known
        else:
            outputs.put(path, _json(record), "application/json")
    if record["request"] != fingerprint:
        raise Problem(422, "This Idempotency-Key was used for another request.")
    finished = _json(record | {"complete": True})
    return Claim(
        record["batch"],
        record["complete"],
        finish=lambda: outputs.put(path, finished, "application/json"),
        forget=lambda: outputs.delete(path),
        repeated=record["batch"] != fresh,
    )


def _read(outputs: ObjectStore, path: str) -> dict[str, Any]:
    try:
        record = read_object(outputs.get(path))
        known = isinstance(record["complete"], bool) and isinstance(record["request"], str)
        if known and is_batch(record["batch"]) and isinstance(record["at"], int | float):
            return dict(record)
    except (NotFound, MalformedMessage, KeyError, TypeError):
        pass
    raise Problem(409, "The stored record of this Idempotency-Key cannot be read. Use another key.")


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()
