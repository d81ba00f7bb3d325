"""Sends a photo to the Lambda function: stores it where the function takes photos, and awaits the result document."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from comparison.link import ANSWER_BYTES, Link
from comparison.measurement import Measurement
from comparison.photos import unlike_any_other
from comparison.schedule import Stint
from shoal.errors import NotFound, ShoalError
from shoal.messages import Result, safe_name
from shoal.ports import ObjectStore

NAME = "lambda"
TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.01
CLEANING_SECONDS = 10.0  # the function writes its tables a moment after the result
CLEANERS = 8


class LambdaVenue:
    """Measures the function. Many threads may call `measure`; call `clean` at the end.

    inputs, outputs: the buckets. prefix: where in the input bucket the function takes photos.
    link: from the caller to the input bucket, and back. The attribute `prefix`: where its photos are.
    """

    def __init__(self, inputs: ObjectStore, outputs: ObjectStore, prefix: str, link: Link) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self.prefix = f"{prefix}compare/{secrets.token_hex(4)}"
        self._link = link
        self._keys: list[str] = []
        self._lock = threading.Lock()

    def measure(self, stint: Stint, photo: str, content: bytes) -> Measurement:
        """Send one photo. What goes wrong is in the measurement. wait: from the stored photo to the result, without
        what the function says of its own time."""
        body = unlike_any_other(content)
        began = time.perf_counter()
        time.sleep(self._link.seconds(len(body)))
        waited, result, error = 0.0, None, ""
        try:
            key = self._store(photo, body)
            stored = time.perf_counter()
            result = self._result(key)
            waited = time.perf_counter() - stored
            error = result.error
        except (ShoalError, TimeoutError) as failure:
            error = str(failure)
        time.sleep(self._link.seconds(ANSWER_BYTES))
        spent = result.seconds if result else {}
        return Measurement(
            lane=stint.lane,
            photo=photo,
            round=stint.round,
            phase=stint.phase,
            total=time.perf_counter() - began,
            wait=max(0.0, waited - sum(spent.values())),
            inference=spent.get("decode", 0.0) + spent.get("infer", 0.0),
            sent_bytes=len(body),
            label=result.label if result else "",
            error=error,
        )

    def _store(self, photo: str, body: bytes) -> str:
        with self._lock:
            key = f"{self.prefix}/{len(self._keys)}/{safe_name(photo)}"
            self._keys.append(key)
        self._inputs.put(key, body, "image/jpeg" if body.startswith(b"\xff\xd8") else "application/octet-stream")
        return key

    def _result(self, key: str) -> Result:
        """The result document, once it is there. Raises TimeoutError."""
        ends = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                return Result.from_json(self._outputs.get(key).decode())
            except NotFound:
                if time.monotonic() > ends:
                    raise TimeoutError(f"no result within {TIMEOUT_SECONDS:.0f} s") from None
                time.sleep(POLL_SECONDS)

    def clean(self, forget: Callable[[str], bool]) -> None:
        """Delete what was stored. forget: makes the tables forget the photo of a key; False if they don't know it.

        Raises what a store raises.
        """
        ends = time.monotonic() + CLEANING_SECONDS

        def clean(key: str) -> None:
            while not forget(key) and time.monotonic() < ends:
                time.sleep(POLL_SECONDS)
            self._inputs.delete(key)
            self._outputs.delete(key)

        with ThreadPoolExecutor(CLEANERS) as cleaners:
            list(cleaners.map(clean, self._keys))
