"""`shoal classify --contract`: what the clients of two published systems did, with any endpoint that speaks as theirs.

A photo is a call. Its inference time is what the answer says; its transfer time is the rest of the call: both ways,
and the wait at the other end.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from inference.photo_folders import readable
from shoal import messages, photo_record
from shoal.errors import MalformedMessage, Permanent, Retryable
from shoal.retry import patiently
from shoal.safe_json import array, integer, number, read_value, text
from shoal_cli._client import PATIENCE_SECONDS, session_for

LARGEST_ANSWER = 4 * 1024 * 1024  # bytes
BUSY_PAUSE_SECONDS = 1.0
BUSY = (429, 503)
NOT_SPOKEN_HERE = (401, 403, 404, 405, 407, 501)  # no photo gets an answer there, whatever it shows
WORDS = ("detail", "error", "message", "title")  # in which endpoints say what is wrong
MOST_WORDS = 200

Found = dict[str, Any]  # "labels" or "detections", as in `shoal.photo_record`


@dataclass(frozen=True, slots=True)
class Contract:
    """A published API. path: of the published endpoint.

    body: (name, base64, milliseconds of packing) -> the JSON to send.
    read: an answer -> what was found, and the milliseconds of inference or None. Raises KeyError, TypeError, ValueError
    or MalformedMessage when it is no answer of this contract, and Permanent when it says that the photo failed.
    """

    path: str
    body: Callable[[str, str, float], dict[str, Any]]
    read: Callable[[Any], tuple[Found, float | None]]


def _read_objects(answer: Any) -> tuple[Found, float | None]:
    _raise_its_error(answer)
    found = [(_share(one["accuracy"]), _shown(text(one["label"]))) for one in _list(answer["objects"])]
    labels = [
        {"name": name, "readable": messages.readable(name), "probability": share}
        for share, name in sorted(found, key=lambda one: -one[0])
    ]
    return {"labels": labels}, _milliseconds(answer)


def _read_pictures(answer: Any) -> tuple[Found, float | None]:
    [picture] = _list(answer)
    _raise_its_error(picture)
    classes, boxes = _list(picture["class_id"]), _list(picture["bounding_boxes"])
    detections = [_detection(one, box) for one, box in zip(classes, boxes, strict=True)]
    return {"detections": detections}, _milliseconds(picture)


CONTRACTS = {
    "object-detection": Contract(
        "/object-detection", lambda name, data, _: {"id": name, "image_data": data}, _read_objects
    ),
    "detect": Contract(
        "/api/detect",
        # The field has to be filled before the upload: it gets the time until the photo was ready to be sent.
        lambda name, data, packing: {"images": [{"id": name, "image": data}], "upload_times": [packing]},
        _read_pictures,
    ),
}


def _raise_its_error(answer: Any) -> None:
    if answer.get("status") == "failed" or answer.get("error"):
        raise Permanent(_shown(str(answer.get("error") or "the endpoint says failed and not why")))


def _list(value: Any) -> list[Any]:
    return array({"list": value}, "list")


def _share(value: Any) -> float:
    if not 0 <= number(value) <= 1:
        raise ValueError(f"an accuracy is from 0 to 1, not {value}")
    return number(value)


def _milliseconds(answer: Any) -> float | None:
    spent = answer.get("inference_time")
    return None if spent is None else number(spent)


def _detection(class_id: Any, box: Any) -> Found:
    """An object in a picture. The contract tells neither its label nor how sure it is."""
    left, top, right, bottom = map(number, _list(box))
    edges = [round(edge) for edge in (left, top, right, bottom)]
    return {"name": f"class {integer(class_id)}", "class_id": integer(class_id), "score": None, "box": edges}


@dataclass
class Endpoint:
    """An endpoint that speaks a contract.

    address: its whole address; one without a path gets the path of the contract.
    patience: seconds without an answer after which a photo has failed.
    key: an API key of a Shoal where people sign in.
    """

    contract: Contract
    address: str
    patience: float
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if urlsplit(self.address).path in ("", "/"):
            self.address = self.address.rstrip("/") + self.contract.path
        self._session = session_for(self.address, self.key)

    def label(self, photos: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Yield the record of each photo, in order; a photo that failed says why.

        Raises Retryable when the endpoint stays busy, Permanent when it is away or does not speak the contract.
        """
        for index, path in enumerate(photos):
            record = photo_record.record(messages.Job("", index, readable(path.name), ""), None) | {"batch": None}
            try:
                found, seconds = self._ask(path)
                yield record | {"state": "done", **_best(found), **found, "seconds": seconds}
            except _Failed as failure:
                yield record | {"state": "failed", "error": str(failure)}

    def _ask(self, path: Path) -> tuple[Found, dict[str, float]]:
        began = time.perf_counter()
        try:
            data = base64.b64encode(path.read_bytes()).decode()
        except OSError as error:
            raise _Failed(f"the file cannot be read: {error.strerror}") from error
        body = self.contract.body(readable(path.name), data, (time.perf_counter() - began) * 1000)
        content, took = patiently(lambda: self._post(body), PATIENCE_SECONDS, lambda: time.sleep(BUSY_PAUSE_SECONDS))
        try:
            found, inference = self.contract.read(read_value(content))
        except Permanent as failure:
            raise _Failed(str(failure)) from failure
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _Failed(f"the answer is not of this contract: {_shown(repr(error))}") from error
        return found, _times(inference, took)

    def _post(self, body: dict[str, Any]) -> tuple[bytes, float]:
        """The answer to a photo, and the seconds until it was whole."""
        began = time.perf_counter()
        try:
            with self._session.post(
                self.address, json=body, timeout=self.patience, stream=True, allow_redirects=False
            ) as reply:
                content = _content(reply)
        except requests.RequestException as error:
            raise self._unanswered(error) from error
        took = time.perf_counter() - began
        if reply.status_code in NOT_SPOKEN_HERE or reply.is_redirect:
            where = reply.headers.get("Location", "")
            raise Permanent(self._told(reply, content) + (f" Its Location is {_shown(where)}" if where else ""))
        if reply.status_code in BUSY:
            raise Retryable(self._told(reply, content))
        if not reply.ok:
            raise _Failed(_why(content) or f"the endpoint answers {reply.status_code}")
        return content, took

    def _told(self, reply: requests.Response, content: bytes) -> str:
        return f"{self.address} answers {reply.status_code}: {_why(content) or _shown(reply.reason)}"

    def _unanswered(self, error: requests.RequestException) -> Exception:
        """What a call without an answer means: for this photo alone, or for all."""
        cause = error.args[0] if error.args else None
        broken = isinstance(cause, (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError))
        if broken or isinstance(error, (requests.ReadTimeout, requests.exceptions.ContentDecodingError)):
            late = isinstance(error, requests.Timeout) or isinstance(cause, urllib3.exceptions.ReadTimeoutError)
            return _Failed(f"no answer within {self.patience:g} s" if late else "the endpoint broke off its answer")
        return Permanent(f"nothing answers at {self.address} ({type(error).__name__}): start it, or give --url")


class _Failed(Exception):
    """One photo has no answer; others may have one."""


def _content(reply: requests.Response) -> bytes:
    content = b""
    for part in reply.iter_content(65536):
        content += part
        if len(content) > LARGEST_ANSWER:
            raise _Failed(f"the answer is larger than {LARGEST_ANSWER // 1024**2} MB")
    return content


def _why(content: bytes) -> str:
    """What the body of a refusal says, in a line; empty for a page or nothing."""
    try:
        body = read_value(content)
        return _shown(str(next(body[word] for word in WORDS if body.get(word))))
    except (MalformedMessage, AttributeError, StopIteration):
        words = content.decode(errors="replace").strip()
        return "" if words.startswith("<") else _shown(words)


def _shown(words: str) -> str:
    """Words of a stranger, for a terminal: a line, not long, without control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in words[:MOST_WORDS])


def _times(inference: float | None, took: float) -> dict[str, float]:
    """Seconds of a call. None are told when the inference took no time or longer than the call: the answer was
    remembered, or counts in other units."""
    if inference is None or not 0 < inference / 1000 <= took:
        return {}
    return {"infer": inference / 1000, "transfer": took - inference / 1000}


def _best(found: Found) -> Found:
    """The columns of the best label, or of the first object."""
    for one in (*found.get("labels", ()), *found.get("detections", ())):
        return {
            "label": one["name"],
            "readable": messages.readable(one["name"]),
            "class_id": one.get("class_id"),
            "probability": one.get("probability"),
        }
    return {}


def averages(photos: Sequence[dict[str, Any]]) -> str:
    """The average times of the photos that were answered, in a sentence."""
    answered = [photo for photo in photos if photo["state"] == "done"]
    timed = [photo["seconds"] for photo in answered if photo["seconds"]]
    if not timed:
        return "No answer told how many milliseconds of its call were inference." if answered else ""
    inference, transfer = (fmean(one[stage] for one in timed) * 1000 for stage in ("infer", "transfer"))
    some = f" (of the {len(timed)} photos whose answers told it)" if len(timed) < len(answered) else ""
    return f"Average inference time {inference:.1f} ms, average transfer time {transfer:.1f} ms{some}"
