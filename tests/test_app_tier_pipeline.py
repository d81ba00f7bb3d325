"""What a worker does about many models, identical bytes, large photos, gathered calls and the times it tells."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app_tier.answers import Answers
from app_tier.in_progress import Delivery, Finished
from app_tier.inference_queue import Image as ReadyImage
from app_tier.inference_queue import InferenceQueue
from app_tier.pixel_budget import PixelBudget, pixels_in
from app_tier.prefetch import Prefetch
from app_tier.publisher import BUSY_MESSAGES, Publisher
from app_tier.store_patience import StorePatience
from app_tier.worker import FIRST_IN_PROGRESS
from benchmarks.photos import EXAMPLES, bomb
from inference.answer import Answer
from shoal.clock import SystemClock
from shoal.lifecycle import StopSignal
from shoal.memory import memory_cloud
from shoal.messages import UPLOAD, Label, Result
from shoal.ports import Cloud
from tests.app_tier_fixtures import (
    DEADLINE_SECONDS,
    NamingRecogniser,
    put,
    result,
    short_polls,
    wait_for,
    worker_of,
    working,
)

ROOT = Path(__file__).parent.parent

# Four threads unpack a photo as a worker's do; prints how many kB more than at the start this process
# held at the most, and holds at the end.
UNPACK = """
import pathlib, re, sys, threading
from app_tier.allocator import give_back_large_blocks
from app_tier.pixel_budget import PixelBudget, pixels_in
from app_tier.worker import PIXELS_AT_ONCE
from inference.images import open_square

def memory(what):
    return int(re.search(what + r":\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text()).group(1))

def unpack():
    with room.taken(pixels_in(payload)):
        open_square(payload, 224, 50_000_000)

give_back_large_blocks()
room, payload = PixelBudget(PIXELS_AT_ONCE), pathlib.Path(sys.argv[1]).read_bytes()
open_square(pathlib.Path("static/examples/cat.jpg").read_bytes(), 224, 50_000_000)
start = memory("VmRSS")
threads = [threading.Thread(target=unpack) for _ in range(4)]
[one.start() for one in threads]
[one.join() for one in threads]
print(memory("VmHWM") - start, memory("VmRSS") - start)
"""

pytestmark = pytest.mark.usefixtures(short_polls.__name__)


@pytest.fixture
def cloud() -> Cloud:
    return memory_cloud(SystemClock(), visibility_seconds=30)


def responses(cloud: Cloud) -> dict[str, Result]:
    found: dict[str, Result] = {}
    while received := cloud.responses.receive(10, 0):
        found |= {one.key: one for one in (Result.from_json(message.body) for message in received)}
    return found


def counted(calls: list[int], call: Callable[..., None]) -> Callable[..., None]:
    def wrapper(items: Sequence[str], *rest: object) -> None:
        calls.append(len(items))
        call(items, *rest)

    return wrapper


# models


def test_a_batch_is_of_one_model_and_each_photo_gets_its_own(cloud: Cloud) -> None:
    recogniser = NamingRecogniser(models=("resnet50", "emotion"))
    recogniser.gate.clear()
    jobs = [put(cloud, b"photo", model=model)[0] for model in ("resnet50", "emotion", "") * 3]
    with working(cloud, recogniser) as worker:
        wait_for(lambda: cloud.requests.depth().in_flight == FIRST_IN_PROGRESS)
        recogniser.gate.set()
        wait_for(lambda: worker.finished == 9)
    assert [result(cloud, job).model for job in jobs] == ["resnet50", "emotion", "resnet50"] * 3
    assert {model for model, _ in recogniser.batches} == {"resnet50", "emotion"}
    assert sum(count for model, count in recogniser.batches if model == "emotion") == 3


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 9))
def test_what_waits_longest_goes_first_and_nothing_is_lost(models: list[str], most: int) -> None:
    ready = InferenceQueue()
    for number, model in enumerate(models):
        ready.put(ReadyImage(None, model, None, b"", number))  # type: ignore[arg-type]
    ready.close()
    taken: list[ReadyImage] = []
    while batch := ready.take(lambda _: most):
        assert len({one.model for one in batch}) == 1
        left = set(range(len(models))) - {one.since for one in taken}
        assert batch[0].since == min(left)
        assert len(batch) == min(most, sum(models[int(number)] == batch[0].model for number in left))
        taken += batch
    assert sorted(one.since for one in taken) == list(range(len(models)))


# answers to identical bytes


def test_the_same_bytes_are_answered_from_memory_and_the_result_says_so(cloud: Cloud) -> None:
    recogniser = NamingRecogniser(models=("resnet50", "emotion"))
    with working(cloud, recogniser, remember=10) as worker:
        [first] = put(cloud, b"blurred")
        wait_for(lambda: worker.finished == 1)
        [again], [other_model], [other] = (
            put(cloud, b"blurred"),
            put(cloud, b"blurred", model="emotion"),
            put(cloud, b"x"),
        )
        wait_for(lambda: worker.finished == 4)
    assert [result(cloud, job).cached for job in (first, again, other_model, other)] == [False, True, False, False]
    assert result(cloud, again).labels == result(cloud, first).labels
    assert result(cloud, again).warnings == result(cloud, first).warnings == ("blurred",)
    assert "infer" not in result(cloud, again).seconds
    assert sum(count for _, count in recogniser.batches) == 3


def test_nothing_is_remembered_when_it_is_off_and_never_a_failure(cloud: Cloud) -> None:
    recogniser = NamingRecogniser()
    with working(cloud, recogniser, remember=0) as worker:
        put(cloud, b"photo")
        wait_for(lambda: worker.finished == 1)
        put(cloud, b"photo")
        wait_for(lambda: worker.finished == 2)
    assert len(recogniser.batches) == 2
    with working(cloud, recogniser, remember=10) as worker:
        bad = put(cloud, b"bad")[0]
        wait_for(lambda: worker.finished == 1)
        bad_again = put(cloud, b"bad")[0]
        wait_for(lambda: worker.finished == 2)
    assert [result(cloud, one).cached for one in (bad, bad_again)] == [False, False]
    assert result(cloud, bad).bad_photo  # to try it again would not help


@given(st.lists(st.integers(0, 5)), st.integers(1, 4))
def test_the_latest_answers_are_kept_and_no_more(asked: list[int], most: int) -> None:
    answers = Answers(most)
    recent: list[int] = []
    for number in asked:
        name = answers.name("m", bytes([number]))
        found = answers.find(name)
        assert (found is not None) == (number in recent[-most:])
        if found is None:
            answers.keep(name, Answer((Label(str(number), "", 1.0),)), "batch")
        else:
            assert found.labels[0].name == str(number)
        recent = [one for one in recent if one != number] + [number]


# bounds


def test_large_photos_are_unpacked_one_after_the_other() -> None:
    room = PixelBudget(100)
    inside, most = [], [0]
    lock = threading.Lock()

    def unpack(pixels: int) -> None:
        with room.taken(pixels):
            with lock:
                inside.append(pixels)
                most[0] = max(most[0], sum(min(one, 100) for one in inside))
            threading.Event().wait(0.005)
            with lock:
                inside.remove(pixels)

    threads = [threading.Thread(target=unpack, args=(pixels,)) for pixels in (60, 70, 30, 500, 10, 90, 40) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
    assert 60 < most[0] <= 100


def test_the_header_tells_the_pixels() -> None:
    assert pixels_in(bomb(7000, 6000)) == 42_000_000
    assert pixels_in((EXAMPLES / "cat.jpg").read_bytes()) > 10_000
    assert pixels_in(b"no image") == 0


def test_the_prefetch_counts_what_is_in_progress_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("app_tier.prefetch.time.monotonic", lambda: now[0])
    prefetch = Prefetch(most=8, least=2, seconds=10, first=4)
    assert prefetch.idle_since == 100
    assert prefetch.take(10, 0) == 4
    assert prefetch.take(10, 0) == 0
    prefetch.settle(4, 3)
    assert prefetch.in_progress == 3
    assert prefetch.idle_since is None
    now[0] = 107
    assert prefetch.busy_seconds == 7
    prefetch.let_go(3)
    assert (prefetch.in_progress, prefetch.idle_since, prefetch.busy_seconds) == (0, 107, 7)
    now[0] = 110
    prefetch.settle(prefetch.take(1, 0), 1)
    now[0] = 111
    assert prefetch.busy_seconds == 8


def test_the_prefetch_is_as_wide_as_the_work_of_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("app_tier.prefetch.time.monotonic", lambda: now[0])
    prefetch = Prefetch(most=8, least=2, seconds=10, first=1)
    assert prefetch.take(10, 0) == 1
    prefetch.settle(1, 0)

    def work(count: int, seconds_each: float) -> int:
        """Do so many, one after the other; returns how many may be held then."""
        for _ in range(count):
            prefetch.settle(prefetch.take(1, 0), 1)
            now[0] += seconds_each
            prefetch.let_go(1)
        places = prefetch.take(100, 0)
        prefetch.settle(places, 0)
        return places

    assert work(1, 2) == 3
    assert work(1, 0) == 5, "two more for each that is done"
    assert work(2, 0) == 8
    assert work(10, 2.5) == 4
    assert work(20, 100) == 2
    assert work(20, 0.1) == 8, "what was long ago is forgotten"


# calls


def test_calls_are_gathered_under_load_and_not_when_idle(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    deleted: list[int] = []
    monkeypatch.setattr(cloud.responses, "send", counted(sent, cloud.responses.send))
    monkeypatch.setattr(cloud.requests, "delete", counted(deleted, cloud.requests.delete))
    with working(cloud, NamingRecogniser()) as worker:
        put(cloud, b"alone")
        wait_for(lambda: worker.finished == 1)
        assert (sent, deleted) == ([1], [1])
        slow = cloud.responses.send

        def takes_long(*arguments: object) -> None:
            threading.Event().wait(0.05)
            slow(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(cloud.responses, "send", takes_long)
        put(cloud, *[b"many"] * 100)
        wait_for(lambda: worker.finished == 101)
    assert max(sent) == max(deleted) == 10
    assert sum(sent) == sum(deleted) == 101
    assert len(sent) < 25
    assert len(deleted) < 25


@pytest.mark.parametrize(("in_progress", "calls"), [(BUSY_MESSAGES, [1, 10]), (BUSY_MESSAGES - 1, [1] * 11)])
def test_the_results_of_a_busy_worker_gather(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, in_progress: int, calls: list[int]
) -> None:
    monkeypatch.setattr("app_tier.publisher.GATHER_SECONDS", DEADLINE_SECONDS)
    sent: list[int] = []
    done: list[Delivery] = []
    given_back: list[Delivery] = []
    monkeypatch.setattr(cloud.responses, "send", counted(sent, cloud.responses.send))
    jobs = put(cloud, *[b"photo"] * 11)
    received = [*cloud.requests.receive(10, 0), *cloud.requests.receive(10, 0)]
    publisher = Publisher(
        cloud,
        StorePatience(StopSignal()),
        {"replies": cloud.responses},
        lambda: in_progress,
        done.extend,
        lambda deliveries, _: given_back.extend(deliveries),
    )
    with publisher:
        for number, (message, job) in enumerate(zip(received, jobs, strict=True)):
            publisher.publish(Finished(Delivery.open(message, job), Result(job.key, "done")))
            if number < len(calls) - 1:
                wait_for(lambda: len(sent) > number)  # noqa: B023 - it is waited for at once
        wait_for(lambda: sum(sent) == 11)
    assert (sent, len(done), given_back) == (calls, 11, [])


# the end


def test_a_drain_gives_back_at_once_what_was_not_begun(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, go_on = threading.Semaphore(0), threading.Event()
    fetch = cloud.inputs.get

    def slow(key: str) -> bytes:
        opened.release()
        assert go_on.wait(DEADLINE_SECONDS)
        return fetch(key)

    stop = StopSignal()
    worker = worker_of(cloud, NamingRecogniser(), stop)
    thread = threading.Thread(target=worker.run)
    thread.start()
    put(cloud, *[b"quick"] * 30)
    wait_for(lambda: worker.finished == 30)
    monkeypatch.setattr(cloud.inputs, "get", slow)
    put(cloud, *[b"photo"] * 60)
    wait_for(lambda: cloud.requests.depth().in_flight > 4)
    stop.stop("test")
    wait_for(lambda: cloud.requests.depth().in_flight == 4)  # the threads that fetch hold one each
    go_on.set()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert worker.finished == 34
    assert cloud.requests.depth().total == cloud.requests.depth().visible == 56


# times


def test_each_stage_has_its_time_and_the_response_knows_more_than_the_object(cloud: Cloud) -> None:
    recogniser = NamingRecogniser()
    slow: Mapping[str, float] = {"fetch": 0.11, "store": 0.13}
    get, store = cloud.inputs.get, cloud.outputs.put_new

    def slow_get(key: str) -> bytes:
        time.sleep(slow["fetch"])
        return get(key)

    def slow_put(key: str, body: bytes, content_type: str) -> bool:
        time.sleep(slow["store"])
        return store(key, body, content_type)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloud.inputs, "get", slow_get)
        patch.setattr(cloud.outputs, "put_new", slow_put)
        [job] = put(cloud, b"photo", attributes={UPLOAD: "0.25"})
        with working(cloud, recogniser) as worker:
            wait_for(lambda: worker.finished == 1)
    stored = result(cloud, job).seconds
    told = responses(cloud)[job.key].seconds
    assert set(stored) == {"upload", "queue", "fetch", "decode", "wait", "infer"}
    assert set(told) == {*stored, "store", "publish"}
    assert {stage: told[stage] for stage in stored} == stored
    assert stored["upload"] == 0.25
    assert 0.11 <= stored["fetch"] < 1
    assert 0.13 <= told["store"] < 1
    assert all(0 <= seconds < 5 for seconds in told.values())


def test_a_senseless_upload_time_is_left_out(cloud: Cloud) -> None:
    [job] = put(cloud, b"photo", attributes={UPLOAD: "soon"})
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 1)
    assert "upload" not in result(cloud, job).seconds


def test_the_pixels_of_large_photos_are_not_kept(tmp_path: Path) -> None:
    photo = tmp_path / "large.png"
    Image.new("RGB", (6400, 5000), "teal").save(photo, compress_level=1)
    seen = subprocess.run([sys.executable, "-c", UNPACK, photo], cwd=ROOT, check=True, capture_output=True, text=True)
    peak, afterwards = (int(one) / 1000 for one in seen.stdout.split())
    assert 100 < peak < 260  # one at a time, at 4 bytes a pixel
    assert afterwards < 40
