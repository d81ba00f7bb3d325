"""The messages between the tiers: Job (a request message) and Result (a response message and a stored object).

Both are frozen, have a version, and are sent as JSON. A job is named by its object key. A second delivery writes the
same object again, so it does no harm.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from sys import intern
from typing import Any, Literal

from shoal.errors import MalformedMessage
from shoal.safe_json import array, integer, number, read_object, text

CANCELLED = "cancelled"
VERSION = 1
MAX_REQUEST_BYTES = 1024  # the request queue's own MaximumMessageSize
MAX_EVENT_BYTES = 64 * 1024  # the same where S3 announces photos: its messages are longer
MAX_MODEL_NAME = 64
UPLOAD = "upload"  # an attribute of the request message: the seconds that the upload of its photo took
MAX_NAME_BYTES = 255  # longest file name on the common file systems; keeps a request message under its limit

MAX_INDEX_DIGITS = 9
SHOWN = 300  # characters of a wrong key in an error

# What SQS or XML refuse: control characters, surrogates, and the last two code points of each plane.
_NONCHARACTERS = "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
# Marks that turn the direction of a text, and line separators: `\u202egpj.exe` shows as `exe.jpg`.
_DIRECTIONS = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_REFUSED = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff{_DIRECTIONS}{_NONCHARACTERS}]")
# S3 puts the name of the sent file in its place in the key of an upload form, which then fits the form no longer.
_FILE_NAME_VARIABLE = "${filename}"
_MODEL_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
_BATCH_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: sorts like the number, no look-alikes
_BATCH_TIME_DIGITS = 9  # milliseconds since 1970 in base 32 until the year 3084
_BATCH_RANDOM_DIGITS = 11  # 55 random bits: a batch link cannot be guessed
BATCH_DIGITS = _BATCH_TIME_DIGITS + _BATCH_RANDOM_DIGITS
BATCH_PATTERN = f"^[{_BATCH_ALPHABET}]{{{BATCH_DIGITS}}}$"

Status = Literal["done", "failed"]
Box = tuple[int, int, int, int]


def _base32(value: int, digits: int) -> str:
    return "".join(_BATCH_ALPHABET[(value >> (5 * digit)) & 31] for digit in reversed(range(digits)))


def new_batch(now: float) -> str:
    """Make a batch id for the time `now` (seconds since 1970). Ids sort by time, so listings do too."""
    return batch_floor(now) + _base32(secrets.randbits(5 * _BATCH_RANDOM_DIGITS), _BATCH_RANDOM_DIGITS)


def batch_floor(now: float) -> str:
    """The text that sorts after every batch id that was made before `now` (seconds since 1970)."""
    return _base32(max(0, int(now * 1000)), _BATCH_TIME_DIGITS)


def batch_time(batch: str) -> float:
    """When the id of a batch was made, seconds since 1970, to a millisecond: it begins with the time."""
    value = 0
    for digit in batch[:_BATCH_TIME_DIGITS]:
        value = value * 32 + _BATCH_ALPHABET.index(digit)
    return value / 1000


def is_batch(text: str) -> bool:
    """Whether `text` has the form of a batch id."""
    return len(text) == BATCH_DIGITS and all(letter in _BATCH_ALPHABET for letter in text)


def is_model_name(text: str) -> bool:
    """Whether `text` may be the name of a model: up to 64 letters, digits, hyphens, dots and underscores."""
    return len(text) <= MAX_MODEL_NAME and bool(text) and text.isascii() and not set(text) - _MODEL_LETTERS


def safe_name(name: str) -> str:
    """Change a client's file name so that it is valid in an object key, a message and a page.

    Folders are removed (`../../etc/passwd` -> `passwd`). Characters that SQS or XML refuse, or that turn the
    direction of the text, become `_`. `${filename}` becomes `$(filename)`. A name of more than 255 bytes of UTF-8 is
    shortened; its extension stays.
    """
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    base = _REFUSED.sub("_", base).replace(_FILE_NAME_VARIABLE, "$(filename)").strip()
    if base in {"", ".", ".."}:
        return "unnamed"
    return _shorten(base)


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = f"…{dot}{extension}" if dot and len(extension.encode()) <= 16 else "…"
    head = (stem if dot else name).encode()[: MAX_NAME_BYTES - len(tail.encode())]
    return head.decode(errors="ignore") + tail


@dataclass(frozen=True, slots=True)
class Job:
    """An image to label.

    batch:    the id of its batch.
    index:    its number in the batch, from 0.
    name:     the client's file name after `safe_name`.
    reply_to: the name of the queue for the response message; empty for the common queue.
    model:    the name of the model; empty for the worker's default. It is part of the key, so that a photo whose
              message was lost is labelled by the same model.
    """

    batch: str
    index: int
    name: str
    reply_to: str
    model: str = ""

    @property
    def key(self) -> str:
        """The key of the photo in the input bucket and of the result in the output bucket."""
        chosen = f"@{self.model}" if self.model else ""
        return f"{self.batch}/{self.index:05d}{chosen}/{self.name}"

    def to_json(self) -> str:
        """The body of the request message, at most 1,024 bytes of UTF-8."""
        body = {"v": VERSION, "key": self.key, "reply_to": self.reply_to}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, body: str) -> Job:
        """Read a request message. Raises MalformedMessage."""
        fields = _fields(body)
        reply_to = fields.get("reply_to", "")
        if not isinstance(reply_to, str):
            raise MalformedMessage("message has a reply_to that is not a text")
        return cls.from_key(_key(fields), reply_to)

    @classmethod
    def from_key(cls, key: str, reply_to: str) -> Job:
        """The job of an object key. Raises MalformedMessage when it is not the key of a job."""
        batch, _, rest = key.partition("/")
        number, _, name = rest.partition("/")
        index, _, model = number.partition("@")
        if not is_batch(batch) or not _is_index(index):
            raise MalformedMessage(f"{key[:SHOWN]!r} is not the key of a job: expected <batch>/<index>/<file name>")
        if not name or safe_name(name) != name:
            raise MalformedMessage(f"{key[:SHOWN]!r} is not the key of a job: its file name is not valid")
        job = cls(batch, int(index), name, reply_to, model)
        if job.key != key or (model and not is_model_name(model)):
            raise MalformedMessage(f"{key[:SHOWN]!r} is not the key of a job: {job.key[:SHOWN]!r} was expected")
        return job


def is_job_key(key: str) -> bool:
    """Whether a key in the input bucket is of a photo that Shoal stored."""
    try:
        Job.from_key(key, "")
    except MalformedMessage:
        return False
    return True


def _is_index(digits: str) -> bool:
    return len(digits) <= MAX_INDEX_DIGITS and digits.isascii() and digits.isdigit()


@dataclass(frozen=True, slots=True)
class Label:
    """A class that a classifier names.

    name:        as Keras spells it, for example Egyptian_cat.
    wordnet_id:  empty if the model does not know it. Two classes of ImageNet may share a name (crane, maillot), no id.
    probability: in [0, 1].
    class_id:    the number of the class in the model's list; None for none_of_these, and in results that older workers
                 stored.
    """

    name: str
    wordnet_id: str
    probability: float
    class_id: int | None = None

    @property
    def readable(self) -> str:
        """The name for people, for example Egyptian cat."""
        return readable(self.name)


def readable(name: str) -> str:
    """The name of a class for people: Egyptian_cat -> Egyptian cat."""
    return name.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Detection:
    """An object that a model detects in a picture.

    name, class_id: its class, and the number of the class in the model's list.
    score:          in [0, 1].
    box:            left, top, right, bottom in pixels of the upright picture.
    relative_box:   the same in parts of the picture's width and height, in [0, 1].
    labels:         labels of the object itself (the emotions of a face), best first; often empty.
    """

    name: str
    class_id: int
    score: float
    box: Box
    relative_box: tuple[float, float, float, float]
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a job.

    key:        the job's object key.
    status:     "done" (with labels or detections, best first) or "failed" (with `error`, the reason in words for the
                person who sent the image).
    model, engine: the model and the engine that labelled it.
    model_version: the checksum of the model's files for that engine, 12 digits; empty in results of older workers.
    arithmetic: in which it was computed: float32, bfloat16 or int8; empty in results of older workers.
    worker:     the name of the instance.
    seconds:    stage -> seconds: upload, queue, fetch, decode, wait, infer; store and publish in the response message
                only, because they come after the stored object. docs/worker.md explains each stage.
    detections: the objects that a detecting model has found; such a model gives no labels.
    warnings:   reasons why the labels may be wrong (a tiny or blurred photo), in words for people.
    cached:     True when the worker remembered the answer to the same bytes and did not infer.
    bad_photo:  True when the photo itself cannot be labelled, so that to try again does not help.
    """

    key: str
    status: Status
    labels: tuple[Label, ...] = ()
    error: str = ""
    model: str = ""
    engine: str = ""
    worker: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    detections: tuple[Detection, ...] = ()
    warnings: tuple[str, ...] = ()
    cached: bool = False
    bad_photo: bool = False
    model_version: str = ""
    arithmetic: str = ""

    @classmethod
    def failed(cls, key: str, error: str, worker: str = "", bad_photo: bool = False) -> Result:
        """The result of a job that cannot be done."""
        return cls(key, "failed", error=error, worker=worker, bad_photo=bad_photo)

    @property
    def is_cancelled(self) -> bool:
        """Whether a person cancelled the photo before it was labelled."""
        return self.status == "failed" and self.error == CANCELLED

    @property
    def label(self) -> str:
        """The name of the best label or detection; empty when the job failed or nothing was detected."""
        named = self.labels or self.detections
        return named[0].name if named else ""

    def to_dict(self) -> dict[str, Any]:
        """The result in JSON types, for a page or an API."""
        told: dict[str, Any] = {"v": VERSION}
        for name in _RESULT_FIELDS:
            value = getattr(self, name)
            if value or name not in _LEFT_OUT:
                told[name] = value
        told["labels"], told["seconds"] = _plain(self.labels), dict(self.seconds)
        if self.detections:
            told["detections"] = [_plain_fields(one) | {"labels": _plain(one.labels)} for one in self.detections]
        return told

    def to_json(self) -> str:
        """The stored object and the body of the response message."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, body: str | bytes) -> Result:
        """Read a stored result or a response message. Raises MalformedMessage."""
        fields = _fields(body)
        status = fields.get("status")
        if status not in ("done", "failed"):
            raise MalformedMessage("result has no status done or failed")
        try:
            labels = tuple(_label(**label) for label in array(fields, "labels"))
            detections = tuple(_detection(**found) for found in array(fields, "detections"))
            seconds = {intern(stage): number(spent) for stage, spent in fields.get("seconds", {}).items()}
            warnings = tuple(intern(text(warning)) for warning in array(fields, "warnings"))
            texts = {name: intern(text(fields.get(name, ""))) for name in _TEXTS}
        except (TypeError, ValueError, AttributeError) as error:
            raise MalformedMessage(f"result has malformed fields: {str(error)[:SHOWN]}") from error
        cached, bad_photo = (fields.get(name) is True for name in ("cached", "bad_photo"))
        return cls(
            _key(fields),
            status,
            labels,
            seconds=seconds,
            detections=detections,
            warnings=warnings,
            cached=cached,
            bad_photo=bad_photo,
            **texts,
        )


# Written out, because dataclasses.asdict copies each value deeply, which takes ten times as long.
_RESULT_FIELDS = tuple(one.name for one in fields(Result))
_LEFT_OUT = frozenset({"detections", "warnings", "cached", "bad_photo", "model_version", "arithmetic"})  # when empty
_INNER_FIELDS = {kind: tuple(one.name for one in fields(kind)) for kind in (Label, Detection)}


def _plain(labels: Iterable[Label]) -> list[dict[str, Any]]:
    return [_plain_fields(label) for label in labels]


def _plain_fields(one: Label | Detection) -> dict[str, Any]:
    return {name: getattr(one, name) for name in _INNER_FIELDS[type(one)]}


_TEXTS = ("error", "model", "engine", "worker", "model_version", "arithmetic")


def _label(name: str, wordnet_id: str, probability: float, class_id: int | None = None) -> Label:
    # The same thousand names occur again and again: with shared strings, many results need half the memory.
    known = None if class_id is None else integer(class_id)
    return Label(intern(text(name)), intern(text(wordnet_id)), number(probability), known)


def _detection(
    name: str, class_id: int, score: float, box: list[int], relative_box: list[float], labels: list[dict[str, Any]]
) -> Detection:
    left, top, right, bottom = map(integer, box)
    x0, y0, x1, y1 = map(number, relative_box)
    inner = tuple(_label(**label) for label in labels)
    place, share = (left, top, right, bottom), (x0, y0, x1, y1)
    return Detection(intern(text(name)), integer(class_id), number(score), place, share, inner)


def _fields(body: str | bytes) -> dict[str, Any]:
    fields = read_object(body)
    if fields.get("v") != VERSION:
        raise MalformedMessage(f"message has another version than {VERSION}, the one that this program knows")
    return fields


def _key(fields: dict[str, Any]) -> str:
    value = fields.get("key")
    if not isinstance(value, str) or not value:
        raise MalformedMessage("message has no key")
    return value
