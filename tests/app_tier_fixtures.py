"""A worker on the cloud in memory, with a recogniser that names photos after their bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from app_tier.bucket_events import BucketEvents
from app_tier.publisher import RepliesPort
from app_tier.suspects.alone import Broken
from app_tier.suspects.open_photos import OpenPhotos
from app_tier.suspects.suspects import Suspects
from app_tier.worker import Worker
from inference.answer import Answer, Decoded
from shoal.errors import BadImage
from shoal.lifecycle import StopSignal
from shoal.messages import Job, Label, Result, new_batch
from shoal.ports import Cloud
from tests.waiting import wait_for as patiently

DEADLINE_SECONDS = 60.0


class NamingRecogniser:
    """Names a photo after its bytes. b"bad" is no image; b"poison" breaks the engine."""

    def __init__(self, models: tuple[str, ...] = ("resnet50",)) -> None:
        self.models = models
        self.batches: list[tuple[str, int]] = []
        self.alone: list[str] = []  # the keys of the photos that were tried alone
        self.decoded = 0
        self.called = 0
        self.gate = threading.Event()
        self.gate.set()
        self._counting = threading.Lock()

    def serves(self, model: str) -> bool:
        return model in ("", *self.models)

    def resolve(self, model: str) -> str:
        return model or self.models[0]

    def version(self, model: str) -> str:
        return "0123456789ab"

    def engine(self, model: str) -> str:
        return "test"

    def arithmetic(self, model: str) -> str:
        return "float32"

    def batch(self, model: str) -> int:
        return 8

    def decode(self, model: str, payload: bytes) -> Decoded:
        with self._counting:
            self.decoded += 1
        if payload == b"bad":
            raise BadImage("this is not an image")
        if payload == b"broken":
            raise RuntimeError("decoder broke")
        return Decoded(np.frombuffer(payload, np.uint8), (1, 1), ("blurred",) if payload == b"blurred" else ())

    def infer(self, model: str, decoded: Sequence[Decoded]) -> list[Answer]:
        self.called += 1
        assert self.gate.wait(DEADLINE_SECONDS)
        names = [one.tensor.tobytes().decode() for one in decoded]
        if "poison" in names:
            raise RuntimeError("engine broke")
        self.batches.append((model, len(names)))
        return [
            Answer((Label(name, "n0", 1.0),), warnings=one.warnings) for name, one in zip(names, decoded, strict=True)
        ]


def wait_for(condition: Callable[[], object]) -> None:
    patiently(condition, DEADLINE_SECONDS, "the condition did not come true")


def put(
    cloud: Cloud,
    *payloads: bytes,
    reply_to: str = "replies",
    model: str = "",
    attributes: Mapping[str, str] | None = None,
) -> list[Job]:
    batch = new_batch(time.time())
    jobs = [Job(batch, index, f"{index}.jpg", reply_to, model) for index in range(len(payloads))]
    for job, payload in zip(jobs, payloads, strict=True):
        cloud.inputs.put(job.key, payload, "image/jpeg")
    cloud.requests.send([job.to_json() for job in jobs], [attributes] * len(jobs) if attributes else ())
    return jobs


def result(cloud: Cloud, job: Job) -> Result:
    return Result.from_json(cloud.outputs.get(job.key))


@dataclass
class ToldProgress:
    """The Progress that a test tells."""

    finished: int = 0
    dropped: int = 0
    in_progress: int = 0
    busy_seconds: float = 0.0
    idle_since: float | None = None
    received: int = 0
    waits_for_store: bool = False


def suspects_of(cloud: Cloud, recogniser: NamingRecogniser, most: int = 5, file: Path | None = None) -> Suspects:
    """Suspects whose photos are tried in this process."""

    def alone(job: Job, photo: bytes) -> Result:
        recogniser.alone.append(job.key)
        try:
            answer = recogniser.infer(job.model, [recogniser.decode(job.model, photo)])[0]
        except RuntimeError as error:
            raise Broken("it ended its process") from error
        return Result(job.key, "done", answer.labels)

    return Suspects(cloud.outputs, most, OpenPhotos(file), alone)


def worker_of(
    cloud: Cloud,
    recogniser: NamingRecogniser,
    stop: StopSignal,
    visibility_seconds: int = 30,
    remember: int = 0,
    replies: RepliesPort | None = None,
    events: BucketEvents | None = None,
    suspects: Suspects | None = None,
) -> Worker:
    replies = replies or {"replies": cloud.responses}
    suspects = suspects or suspects_of(cloud, recogniser)
    name = "app-tier-instance-1"
    return Worker(cloud, recogniser, replies, name, stop, visibility_seconds, remember, events, suspects)


@contextmanager
def working(
    cloud: Cloud,
    recogniser: NamingRecogniser,
    visibility_seconds: int = 30,
    remember: int = 0,
    replies: RepliesPort | None = None,
    events: BucketEvents | None = None,
    suspects: Suspects | None = None,
) -> Iterator[Worker]:
    stop = StopSignal()
    worker = worker_of(cloud, recogniser, stop, visibility_seconds, remember, replies, events, suspects)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        stop.stop("test ends")
        recogniser.gate.set()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits long for a poll that is under way."""
    monkeypatch.setattr("app_tier.worker.POLL_SECONDS", 0.05)
