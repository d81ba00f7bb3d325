"""Calls the Lambda function that runs tails: sizes are checked before, and what goes wrong is said in plain words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from comparison.link import ANSWER_BYTES, Link
from comparison.measurement import Measurement
from comparison.schedule import Stint
from inference.split import header
from shoal.errors import MalformedMessage, NotFound, Permanent, Retryable, ShoalError
from shoal.messages import Result
from shoal.retry import patiently
from shoal.safe_json import read_object

START = "start"  # the stage in which the function loads its tail, in the answer to the call for which it did
INFERRING = ("decode", "infer")
MOST_EVENT_BYTES = 6 * 1024 * 1024  # what Lambda takes; an activation travels in it as base64, four bytes for three
MOST_BYTES = (MOST_EVENT_BYTES - 16 * 1024) // 4 * 3  # the rest is for the headers of the call
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 1.0  # before a call that was refused is made again, where the answer names no time
LONGEST_PAUSE_SECONDS = 20.0
BUSY = (429, 503)
SHOWN = 200


class TailRefused(Permanent):
    """This activation gets no label; others may."""


class TailBusy(Retryable):
    """The function takes no call now. seconds: when to ask again."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class _Answer(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class _Calls(Protocol):
    def post(self, body: bytes, kind: str) -> _Answer: ...


@dataclass
class TailCalls:
    """The function `name` at the other end of `calls`, see `shoal.aws.SignedCalls`. Threads may share it."""

    name: str
    calls: _Calls
    patience: float = PATIENCE_SECONDS
    sleep: Callable[[float], object] = time.sleep

    def label(self, activation: bytes) -> Result:
        """The labels. Raises TailRefused for this activation, other errors where no activation would be labelled."""
        check_size(len(activation))
        pause = PAUSE_SECONDS

        def once() -> Result:
            nonlocal pause
            try:
                return _read(self.name, self.calls.post(activation, header.TYPE))
            except TailBusy as error:
                pause = error.seconds
                raise

        try:
            return patiently(once, self.patience, lambda: self.sleep(pause))
        except TailBusy as error:
            raise TailRefused(str(error)) from error
        except Retryable as error:
            raise TailRefused(
                f"the connection to the function {self.name} was lost, or there was none: {error}"
            ) from error


def check_size(size: int) -> None:
    """Raise TailRefused for an activation that Lambda would not take."""
    if size > MOST_BYTES:
        raise TailRefused(
            f"the activation has {size / 1e6:.1f} MB, and a call to Lambda takes {MOST_BYTES / 1e6:.1f} MB: choose a "
            "deeper cut or --bits 4, or send it to a worker (--tail worker)"
        )


def _read(name: str, answer: _Answer) -> Result:
    """The result in an answer. Raises what `TailCalls.label` raises, and TailBusy."""
    if answer.status == 200:
        try:
            return Result.from_json(answer.body)
        except MalformedMessage as error:
            raise TailRefused(f"the answer of {name} is no result: {error}") from error
    why = _words(answer.body)
    if answer.status in BUSY:
        raise TailBusy(f"{name} takes no more calls now ({answer.status}); SHOAL_LAMBDA_CONCURRENCY", _pause(answer))
    if answer.status in (401, 403):
        raise Permanent(
            f"these credentials may not call {name} ({answer.status}): ami/tail-caller-policy.json has what it takes"
        )
    if answer.status == 404:
        raise NotFound(f"there is no function {name} at its address: `shoal prepare --venue split` makes it")
    raise TailRefused(_PLAIN.get(answer.status, "{name} answers {status}: {why}").format(
        name=name, status=answer.status, why=why or "without a reason"
    ))  # fmt: skip


_PLAIN = {
    400: "{why}",
    413: "the activation is too large for {name} (413): {why}",
    500: "{name} cannot run this tail (500): {why}",
    502: "{name} failed or reached its time limit (502): {why}; its log /aws/lambda/{name} tells more",
    504: "{name} did not answer in time (504): SHOAL_LAMBDA_SECONDS, SHOAL_LAMBDA_MEMORY_MB",
}


def _words(body: bytes) -> str:
    """Why, as the function, its runtime or its gateway says it."""
    try:
        told = read_object(body, "an answer")
    except MalformedMessage:
        return ""
    found = next((told[key] for key in ("error", "errorMessage", "message", "Message") if told.get(key)), "")
    return str(found)[:SHOWN]


def _pause(answer: _Answer) -> float:
    """When to ask again, by the header or by what the embedded cloud says in its body."""
    told = answer.headers.get("retry-after", "")
    if not told:
        try:
            told = str(json.loads(answer.body)["retryAfterSeconds"])
        except (ValueError, KeyError, TypeError):
            return PAUSE_SECONDS
    return min(max(float(told), 0.1), LONGEST_PAUSE_SECONDS) if told.isdecimal() else PAUSE_SECONDS


@dataclass
class TailDoor:
    """Measures one cut whose tail runs in the function. pack: as in `comparison.split_venue.CutDoor`.

    link: an emulated line. loading: seconds that the last measured call spent on loading its tail.
    """

    calls: TailCalls
    pack: Callable[[bytes], bytes]
    link: Link = field(default_factory=Link)
    pause: Callable[[float], object] = time.sleep
    loading: float = 0.0

    def measure(self, stint: Stint, photo: str, content: bytes) -> Measurement:
        """Send one activation. What goes wrong is in the measurement. Its inference is that of head and tail."""
        began = time.perf_counter()
        try:
            body = self.pack(content)
            here = time.perf_counter() - began
            self.pause(self.link.seconds(len(body)))
            result = self.calls.label(body)
            self.pause(self.link.seconds(ANSWER_BYTES))
        except ShoalError as error:
            return Measurement(stint.lane, photo, stint.round, stint.phase, 0.0, error=str(error))
        total = time.perf_counter() - began
        self.loading = result.seconds.get(START, 0.0)
        there = sum(result.seconds.get(stage, 0.0) for stage in INFERRING)
        return Measurement(
            stint.lane, photo, stint.round, stint.phase, total,
            inference=here + there, sent_bytes=len(body), label=result.label, device=here,
        )  # fmt: skip
