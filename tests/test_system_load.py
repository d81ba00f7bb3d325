"""The main job under load, on the whole system: 100 clients at once, 60 photos, 1,000 photos in one submission.

A web process may grow by 10 MB and 8 kB a photo: 50 MB for 5,000 photos, which tests/test_web_server.py sends.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psutil
import pytest
import requests
from PIL import Image

from benchmarks import photos
from benchmarks.running.system import PoolWatch, RunningSystem
from inference.process import load as load_recogniser
from shoal.settings import load
from tests.waiting import wait_for

ROUNDS = 2  # the second starts from what the first left
CLIENTS = 100
MANY = 1_000
MAX_GROWTH_BYTES = 50_000_000
ANSWER_SECONDS = 900.0


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    system = RunningSystem(tmp_path_factory.mktemp("load") / "state", POLICY="per_message")
    system.start()
    yield system
    assert system.stop() == 0
    assert system.processes() == []


@pytest.fixture(scope="module")
def pictures() -> list[Path]:
    """A hundred real photos."""
    found = photos.fetch(load().cache_dir)
    return [found[number % len(found)] for number in range(CLIENTS)]


@pytest.fixture(scope="module")
def expected(pictures: list[Path]) -> list[str]:
    """The label that the model gives for each of them, here in this process."""
    settings = load()
    recogniser = load_recogniser(
        [settings.model], settings.engine, settings.cache_dir, None, settings.max_pixels, settings.max_file_bytes
    )
    return [recogniser.infer("", [recogniser.decode("", one.read_bytes())])[0].labels[0].name for one in pictures]


def ask(system: RunningSystem, picture: Path, name: str, together: Barrier) -> requests.Response:
    """One client: a photo in, its label out."""
    with picture.open("rb") as file:
        together.wait()
        return requests.post(system.address, files={"inputFile": (name, file)}, timeout=300)


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_100_clients_at_once(
    round_number: int, system: RunningSystem, pictures: list[Path], expected: list[str]
) -> None:
    settings = system.settings
    before = len(system.keys(settings.in_bucket))
    together = Barrier(CLIENTS)
    assert system.machines() == []
    with PoolWatch(system) as watch:
        with ThreadPoolExecutor(CLIENTS) as clients:
            names = [f"test_{number}.JPG" for number in range(CLIENTS)]
            answers = list(clients.map(lambda n: ask(system, pictures[n], names[n], together), range(CLIENTS)))
        system.wait_until_empty()
    assert [answer.status_code for answer in answers] == [200] * CLIENTS
    assert [answer.text.strip() for answer in answers] == [f"test_{n}:{expected[n]}" for n in range(CLIENTS)]
    assert watch.most == settings.max_instances == 15
    inputs, outputs = system.keys(settings.in_bucket), system.keys(settings.out_bucket)
    assert inputs == outputs
    assert len(inputs) == before + CLIENTS
    assert [system.waiting(queue) for queue in (settings.req_queue, settings.resp_queue, settings.dead_queue)] == [
        0
    ] * 3


def upload(system: RunningSystem, payloads: list[bytes], group: int = 8) -> str:
    """What the page's script does: groups of photos, four at a time."""
    batch = requests.post(f"{system.address}/batches", timeout=30).json()["batch"]

    def send(first: int) -> None:
        some = payloads[first : first + group]
        files = [("inputFile", (f"photo-{first + n}.jpg", one)) for n, one in enumerate(some)]
        url = f"{system.address}/batches/{batch}/photos?first={first}"
        answer = requests.post(url, files=files, timeout=120)
        assert answer.ok, answer.text
        assert {one["status"] for one in answer.json()} == {"accepted"}

    with ThreadPoolExecutor(4) as senders:
        list(senders.map(send, range(0, len(payloads), group)))
    return str(batch)


def one_of_many(number: int) -> bytes:
    """A small photo of its own."""
    file = io.BytesIO()
    Image.new("RGB", (160, 120), ((number * 7) % 256, (number * 13) % 256, number // 256)).save(file, "JPEG")
    return file.getvalue()


def assert_all_are_done(system: RunningSystem, payloads: list[bytes]) -> None:
    settings = system.settings
    batch = upload(system, payloads)
    listing = f"{system.address}/batches/{batch}.json"
    wait_for(lambda: system.waiting(settings.req_queue) == 0, ANSWER_SECONDS, "the queue did not empty", 0.5)
    found = requests.get(listing, timeout=120).json()["photos"]
    assert [one["state"] for one in found] == ["done"] * len(payloads)
    assert [one["index"] for one in found] == list(range(len(payloads)))
    inputs, outputs = (
        {key for key in system.keys(bucket) if key.startswith(batch)}
        for bucket in (settings.in_bucket, settings.out_bucket)
    )
    assert inputs == outputs
    assert len(outputs) == len(payloads)


def test_60_photos_in_one_submission(system: RunningSystem, pictures: list[Path]) -> None:
    web = psutil.Process(system.part("web_tier").pid)
    before = web.memory_info().rss
    assert_all_are_done(system, [one.read_bytes() for one in pictures[:60]])
    assert web.memory_info().rss - before < MAX_GROWTH_BYTES


def test_60_photos_and_then_1000_in_one_submission(tmp_path: Path, pictures: list[Path]) -> None:
    # The lightest model: it is the numbers that count here, and ResNet50 takes minutes for them on two cores.
    system = RunningSystem(tmp_path / "state", POLICY="per_message", MODEL="mobilenet_v2", PRECISION="float32")
    system.start()
    try:
        web = psutil.Process(system.part("web_tier").pid)
        assert_all_are_done(system, [one.read_bytes() for one in pictures[:60]])
        before = web.memory_info().rss  # once it has worked at all: its threads, their clients
        assert_all_are_done(system, [one_of_many(number) for number in range(MANY)])
        grown = web.memory_info().rss - before
        print(f"the web process grew by {grown / 1e6:.1f} MB")
        assert grown < 10_000_000 + 8_000 * MANY
    finally:
        assert system.stop() == 0
    assert system.processes() == []
