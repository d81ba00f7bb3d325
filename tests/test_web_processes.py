"""Several web processes on one cloud: an answer reaches whoever waits, whichever of them is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from benchmarks.running.ports import free_port
from shoal.aws import connect, prepare
from shoal.clock import SystemClock
from shoal.errors import NotFound, Retryable
from shoal.memory import ManualClock, MemoryQueue, memory_cloud
from shoal.messages import Job, Result, new_batch
from shoal.ports import Received
from shoal.settings import Settings, load
from tests.app_tier_fixtures import NamingRecogniser, result, wait_for, working
from tests.waiting import until
from tests.web_fixtures import FakeWorker, jpeg, running_site
from web_tier.results.reply_queue import ABANDONED_SECONDS, KEEP_SECONDS, ReplyQueue

ROOT = Path(__file__).resolve().parent.parent
COMMON = "shoal-resp-queue"


@dataclass
class Web:
    """A web tier in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str

    def upload(self, *names: str) -> str:
        files = [("inputFile", (name, jpeg())) for name in names]
        reply = requests.post(f"{self.url}/v1/batches", files=files, timeout=30)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["batch"])

    def label(self, name: str) -> str:
        """`POST /`, which waits."""
        return requests.post(self.url, files={"inputFile": (name, jpeg())}, timeout=30).text


@contextmanager
def web(settings: Settings, log: Path) -> Iterator[Web]:
    port = free_port()
    environment = dict(os.environ) | {"SHOAL_PREFIX": settings.prefix, "SHOAL_PORT": str(port)}
    environment |= {"SHOAL_STATE_DIR": str(log.parent)}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "web_tier"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(url) or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        yield Web(process, url)
    finally:
        process.kill()
        process.wait(10)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).ok
    except requests.RequestException:
        return False


def events(url: str, batch: str) -> dict[str, object]:
    """What the page's stream has told by its end: event -> its last data."""
    told: dict[str, object] = {}
    with requests.get(f"{url}/batches/{batch}/events", stream=True, timeout=30) as reply:
        name = ""
        for line in reply.iter_lines(chunk_size=1, decode_unicode=True):
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                told[name] = json.loads(line[6:])
    return told


@pytest.mark.usefixtures("embedded_cloud")
def test_two_web_processes_serve_one_shoal_and_one_is_killed(tmp_path: Path) -> None:
    settings = load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}"})
    prepare(settings)
    cloud = connect(settings)
    worker = FakeWorker(cloud)
    with ExitStack() as around:
        first, second = (around.enter_context(web(settings, tmp_path / f"{name}.log")) for name in ("one", "two"))
        pool = around.enter_context(ThreadPoolExecutor(8))
        until(lambda: len(cloud.replies.kept()) == 2)
        # Sent to one, watched through the other; and a program waits at each.
        batch = first.upload("test_0.JPG", "b.jpg", "c.jpg")
        page = pool.submit(events, second.url, batch)
        waiting = [pool.submit(one.label, "test_0.JPG") for one in (first, second)]
        until(lambda: cloud.requests.depth().visible == 5)
        worker.start()
        around.callback(worker.stop)
        assert page.result(30)["done"] == {
            "total": 3,
            "failed": 0,
            "seconds": pytest.approx(1, abs=30),
            "cost": ["", ""],
        }
        assert [one.result(30) for one in waiting] == ["test_0:hair_spray"] * 2
        # The messages that its responses go to are never read: the other process shows the results all the same.
        worker.pause()
        batch = first.upload("test_0.JPG", "fail.jpg")
        page = pool.submit(events, second.url, batch)
        until(lambda: cloud.requests.depth().visible == 2)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(10)
        worker.go.set()
        done = page.result(30)["done"]
        assert isinstance(done, dict)
        assert (done["total"], done["failed"]) == (2, 1)
        assert requests.get(f"{second.url}/batches/{batch}.json", timeout=10).json()["done"] == 1
        # A stop that is asked for leaves no queue behind; a kill leaves one, for the sweep.
        second.process.terminate()
        assert second.process.wait(10) == 0
        [left] = cloud.replies.kept()
        assert (tmp_path / "two.log").read_text().count("WARNING") == 0
        cloud.replies.remove(left)


def test_a_worker_goes_on_when_the_response_queue_has_gone() -> None:
    cloud = memory_cloud(SystemClock(), visibility_seconds=30)
    job = Job(new_batch(time.time()), 0, "a.jpg", f"{COMMON}-0123456789ab")
    cloud.inputs.put(job.key, b"photo", "image/jpeg")
    cloud.requests.send([job.to_json()])
    with working(cloud, NamingRecogniser(), replies=cloud.replies) as worker:
        wait_for(lambda: worker.finished == 1)
    assert result(cloud, job).label == "photo"
    assert cloud.requests.depth().total == 0


def test_a_request_message_without_reply_to_is_answered_in_the_common_queue() -> None:
    cloud = memory_cloud(SystemClock(), visibility_seconds=30)
    key = Job(new_batch(time.time()), 0, "a.jpg", "").key
    cloud.inputs.put(key, b"photo", "image/jpeg")
    cloud.requests.send([json.dumps({"v": 1, "key": key})])
    with working(cloud, NamingRecogniser(), replies=cloud.replies):
        wait_for(lambda: cloud.responses.depth().visible == 1)


def test_jobs_name_the_queue_of_their_process_as_soon_as_there_is_one() -> None:
    with running_site(work=False) as site:
        until(lambda: site.cloud.replies.kept())
        [name] = site.cloud.replies.kept()
        requests.post(f"{site.url}/v1/batches", files={"inputFile": ("a.jpg", jpeg())}, timeout=10)
        [message] = site.cloud.requests.receive(10, 5)
        assert Job.from_json(message.body).reply_to == name
        assert len(message.body.encode()) <= 1024
    assert site.cloud.replies.kept() == {}


def test_the_common_queue_is_read_by_every_process() -> None:
    with running_site(work=False) as site:
        batch = requests.post(f"{site.url}/v1/batches", files={"inputFile": ("a.jpg", jpeg())}, timeout=10).json()
        key = f"{batch['batch']}/00000/a.jpg"
        site.cloud.outputs.put(key, Result.failed(key, "no").to_json().encode(), "application/json")
        site.cloud.responses.send([Result.failed(key, "no").to_json()])
        until(lambda: site.cloud.responses.depth().total == 0)


def test_queues_of_dead_processes_are_swept_away_and_those_of_living_ones_are_kept() -> None:
    clock = ManualClock()
    replies = memory_cloud(clock).replies
    dead, alive = f"{COMMON}-00000000dead", f"{COMMON}-000000a11fe0"
    replies.keep(dead)
    clock.wait(ABANDONED_SECONDS - KEEP_SECONDS)
    replies.keep(alive)
    first = ReplyQueue(replies, COMMON, clock.now)
    first.receive(10, 0)
    assert set(replies.kept()) == {dead, alive, first.name}
    clock.wait(2 * KEEP_SECONDS)
    second = ReplyQueue(replies, COMMON, clock.now)
    second.receive(10, 0)
    assert set(replies.kept()) == {alive, first.name, second.name}
    for _ in range(14):
        clock.wait(KEEP_SECONDS)
        first.receive(10, 0)
        second.receive(10, 0)
    assert set(replies.kept()) == {first.name, second.name}


def test_a_process_whose_queue_was_lost_makes_another() -> None:
    replies = memory_cloud(SystemClock()).replies
    own = ReplyQueue(replies, COMMON)
    assert own.name == COMMON
    own.receive(10, 0)
    lost = own.name
    replies.remove(lost)
    with pytest.raises(NotFound):
        own.receive(10, 0)
    own.receive(10, 0)
    assert own.name not in (lost, COMMON)
    own.close()
    assert replies.kept() == {}
    with pytest.raises(Retryable):
        own.receive(10, 0)


def test_a_queue_that_is_not_known_yet_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQS: a queue may be used a second after it was made. Another one would be no better, and this one would stay."""
    replies = memory_cloud(SystemClock()).replies
    own = ReplyQueue(replies, COMMON)
    new = {"left": 2}
    plain = MemoryQueue.receive

    def too_early(queue: MemoryQueue, *arguments: float) -> list[Received]:
        if new["left"]:
            new["left"] -= 1
            raise NotFound("QueueDoesNotExist")
        return plain(queue, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryQueue, "receive", too_early)
    for _ in range(2):
        with pytest.raises(Retryable, match="made a moment ago"):
            own.receive(10, 0)
    name = own.name
    assert own.receive(10, 0) == []
    assert set(replies.kept()) == {name}


def test_a_stop_does_not_wait_for_a_queue_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = memory_cloud(SystemClock()).replies
    own = ReplyQueue(replies, COMMON)
    own.receive(10, 0)
    over = threading.Event()
    monkeypatch.setattr(replies, "remove", lambda name: over.wait(60))
    closing = threading.Thread(target=own.close)
    closing.start()
    closing.join(10)
    over.set()
    assert not closing.is_alive()
