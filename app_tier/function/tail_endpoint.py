"""Answers a call with a packed activation by the labels of its photo. Pure but for the tails, which are loaded once."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inference import process
from inference.process import Recogniser
from inference.split import header
from inference.split.point import tail_name
from shoal.errors import BadImage, NotFound
from shoal.messages import SHOWN, Job, Result

log = logging.getLogger(__name__)

START = "start"  # the stage in a result's seconds: loading the tail, told by the call that did it
NO_KEY = "-"  # a call without an id


class TailEndpoint:
    """Answers calls as Lambda hands them over (payload format 2.0).

    load: makes the recogniser of one tail. tails: those that are served. name: what the results call the worker.
    """

    def __init__(self, load: Callable[[str], Recogniser], tails: Sequence[str], name: str) -> None:
        self._load = load
        self._tails = tuple(tails)
        self._name = name
        self._loaded: dict[str, Recogniser] = {}
        self._loading = threading.Lock()

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a call: 200 with the result, 400 or 405 with the reason, 500 where a tail is not prepared.

        An unexpected error is raised: Lambda answers 502 then, and writes it to its log.
        """
        if event.get("requestContext", {}).get("http", {}).get("method") != "POST":
            return _told(405, {"error": "activations are sent by POST"}, Allow="POST")
        try:
            message = _body(event)
            found, _ = header.read(message)
            tail = tail_name(found.model, found.cut)
            if tail not in self._tails:
                served = ", ".join(self._tails)
                return _told(400, {"error": f"the tail {tail[:SHOWN]} is not served here; served are {served}"})
            return _told(200, self._result(str(event["requestContext"].get("requestId") or NO_KEY), tail, message))
        except BadImage as error:
            return _told(400, {"error": str(error)})
        except NotFound as error:
            log.exception("a tail is missing")
            return _told(500, {"error": str(error)})

    def _result(self, key: str, tail: str, message: bytes) -> dict[str, Any]:
        """The labels of an activation. Raises BadImage, or NotFound for a tail that is not prepared."""
        recogniser, spent = self._recogniser(tail)
        began = time.perf_counter()
        decoded = recogniser.decode(tail, message)
        opened = time.perf_counter()
        [answer] = recogniser.infer(tail, [decoded])
        seconds = spent | {"decode": opened - began, "infer": time.perf_counter() - opened}
        job = Job("", 0, NO_KEY, "", tail)
        result: Result = process.done(recogniser, job, answer, seconds, self._name)
        return result.to_dict() | {"key": key}

    def _recogniser(self, tail: str) -> tuple[Recogniser, dict[str, float]]:
        """The recogniser of a tail; and the seconds that it took to load it, if it was not."""
        with self._loading:
            if tail in self._loaded:
                return self._loaded[tail], {}
            began = time.perf_counter()
            self._loaded[tail] = self._load(tail)
            return self._loaded[tail], {START: time.perf_counter() - began}


def _body(event: Mapping[str, Any]) -> bytes:
    """The bytes that were sent. Raises BadActivation."""
    body = str(event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise header.BadActivation("what was sent is no base64") from error


def _told(status: int, fields: Mapping[str, Any], **headers: str) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **headers},
        "body": json.dumps(fields, ensure_ascii=False, separators=(",", ":")),
    }
