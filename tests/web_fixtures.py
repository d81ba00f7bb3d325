"""What the web tier's tests share: a cloud in memory, a worker that labels at once, a server on a real socket."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from shoal.clock import SystemClock
from shoal.errors import NotFound, StorageFull
from shoal.memory import MemoryStore, memory_cloud
from shoal.messages import Detection, Job, Label, Result
from shoal.photo_record import FLEETING
from shoal.ports import Cloud
from shoal.settings import Settings
from web_tier.app import create_app
from web_tier.results.timeline import STAGES
from web_tier.server import WebServer

LABELS = ("hair_spray", "golden_retriever", "sea_lion", "espresso", "sports_car", "daisy", "lighthouse", "tabby")


def jpeg(colour: tuple[int, int, int] = (20, 110, 130), size: tuple[int, int] = (32, 24)) -> bytes:
    """A small photo."""
    body = io.BytesIO()
    Image.new("RGB", size, colour).save(body, "JPEG")
    return body.getvalue()


def labels_of(job: Job) -> tuple[Label, ...]:
    """The five answers of the fake worker: hair_spray for test_0, what they show for the example photos, and something
    steady for every other name."""
    digest = hashlib.sha256(job.key[20:].encode()).digest()
    start = 0 if job.name.startswith("test_0") else digest[0]
    names = [LABELS[(start + place) % len(LABELS)] for place in range(5)]
    names[0] = _examples().get(job.name, names[0])
    first = 0.45 + 0.53 * digest[1] / 255
    shares = (first, *(round((1 - first) * part, 4) for part in (0.61, 0.22, 0.08, 0.004)))
    return tuple(
        Label(name, f"n{names.index(name):08d}", share, names.index(name))
        for name, share in zip(names, shares, strict=True)
    )


def seconds_of(job: Job) -> dict[str, float]:
    """What the fake worker says of a photo's time: later photos waited longer in the queue."""
    spent = (0.004, 0.12 + 0.05 * job.index, 0.011, 0.034, 0.006, 0.082, 0.005, 0.003)
    return dict(zip((*STAGES, *FLEETING), spent, strict=True))


def answer_of(job: Job) -> Result:
    """What the fake worker says of a photo that it can read."""
    model = job.model or "resnet50"
    if job.name.startswith("street"):
        found = tuple(Detection("person", 1, 0.9, box, relative) for box, relative in _PEOPLE)
        return Result(job.key, "done", model=model, detections=found, warnings=("the photo is far too blurred",))
    if job.name.startswith("empty"):
        return Result(job.key, "done", model=model)
    return Result(job.key, "done", labels_of(job), model=model, worker="fake", seconds=seconds_of(job))


# Two people in a picture of 64 x 48.
_PEOPLE = (((8, 4, 24, 44), (0.125, 0.08333, 0.375, 0.91667)), ((32, 4, 48, 44), (0.5, 0.08333, 0.75, 0.91667)))


@cache
def _examples() -> dict[str, str]:
    path = Path(__file__).resolve().parent.parent / "static" / "examples" / "labels.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    return found


class LimitedStore(MemoryStore):
    """Has room for objects of at most `largest` bytes."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.largest = 1_000_000

    def put(self, key: str, body: bytes, content_type: str) -> None:
        if len(body) > self.largest:
            raise StorageFull("no space left")
        super().put(key, body, content_type)


@dataclass
class FakeWorker:
    """A worker that answers each request message as the real one does. Photos called fail* fail."""

    cloud: Cloud
    respond: bool = True
    go: threading.Event = field(default_factory=threading.Event)
    handled: list[str] = field(default_factory=list)
    fail_names: bool = True

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="fake-worker", daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self.go.wait(0.05):
                continue
            with self._turn:
                if self.go.is_set():
                    self.step(wait_seconds=0.1)

    def pause(self) -> None:
        """Let it take nothing more: a poll that is under way would."""
        self.go.clear()
        with self._turn:
            pass

    def step(self, at_most: int = 10, wait_seconds: float = 0.0) -> int:
        """Handle the messages that are there."""
        received = self.cloud.requests.receive(at_most, wait_seconds)
        for message in received:
            job = Job.from_json(message.body)
            try:
                self.cloud.inputs.get(job.key)
            except NotFound:
                self.cloud.requests.delete([message.receipt])
                continue
            result = answer_of(job)
            if self.fail_names and job.name.startswith("fail"):
                result = Result.failed(job.key, "the picture is cut off")
            self.cloud.outputs.put(job.key, result.to_json().encode(), "application/json")
            if self.respond:
                assert job.reply_to
                with suppress(NotFound):  # whoever waited has gone
                    self.cloud.replies[job.reply_to].send([result.to_json()])
            self.cloud.requests.delete([message.receipt])
            self.handled.append(job.key)
        return len(received)

    def start(self) -> None:
        self.go.set()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)


@dataclass
class Site:
    """A running web tier."""

    url: str
    cloud: Cloud
    settings: Settings
    server: WebServer
    worker: FakeWorker

    @property
    def port(self) -> int:
        return self.server.port


def settings(**changes: object) -> Settings:
    """Settings for a test."""
    usual = {"prefix": "test", "web_threads": 64, "answer_seconds": 20.0, "state_dir": Path("no-such-folder")}
    return Settings(**{**usual, **changes})  # type: ignore[arg-type]


@contextmanager
def running_site(cloud: Cloud | None = None, port: int = 0, work: bool = True, **changes: object) -> Iterator[Site]:
    """A web tier on a real socket, and a fake worker."""
    cloud = cloud or memory_cloud(SystemClock())
    ours = settings(**changes)
    server = WebServer(create_app(ours, cloud, SystemClock()), "127.0.0.1", port, ours.web_threads)
    worker = FakeWorker(cloud)
    server.start()
    if work:
        worker.start()
    try:
        yield Site(f"http://127.0.0.1:{server.port}", cloud, ours, server, worker)
    finally:
        if work:
            worker.stop()
        server.stop()
