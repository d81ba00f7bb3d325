"""The whole system under kill -9, signals and restarts: nothing is lost, nothing is left behind."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from app_tier.suspects.open_photos import FILE_BYTES
from benchmarks import photos
from benchmarks.running.system import ROOT, RunningSystem
from shoal.messages import Job
from shoal.settings import load
from tests.waiting import wait_for

COUNT = 100
ANSWER_SECONDS = 180.0
GONE_SECONDS = 20.0


@pytest.fixture
def system(tmp_path: Path) -> Iterator[RunningSystem]:
    # Few workers, so that the work lasts; a short visibility timeout and sweep, so that the test does not.
    system = RunningSystem(
        tmp_path / "state", POLICY="per_message", MAX_INSTANCES=3, VISIBILITY_SECONDS=6, SWEEP_SECONDS=3
    )
    yield system
    system.stop(signal.SIGKILL)
    wait_for(lambda: not system.processes(), GONE_SECONDS, "processes are left")


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    found = photos.fetch(load().cache_dir)
    return [found[number % len(found)].read_bytes() for number in range(COUNT)]


def put_like_the_page(system: RunningSystem, batch: str, first: int, some: list[bytes]) -> None:
    """Send a group of photos and, like the page's script, send it again when the server went away."""
    url = f"{system.address}/batches/{batch}/photos?first={first}"
    files = [("inputFile", (f"{first + n}.jpg", one)) for n, one in enumerate(some)]

    def sent() -> bool:
        try:
            return requests.post(url, files=files, timeout=30).ok
        except requests.RequestException:
            return False

    wait_for(sent, ANSWER_SECONDS, "a group of photos could not be sent")


def submit(system: RunningSystem, pictures: list[bytes], meanwhile: Callable[[], None]) -> str:
    """Upload the photos while `meanwhile` runs in another thread, once one of them has been labelled."""
    batch = str(requests.post(f"{system.address}/batches", timeout=30).json()["batch"])

    def begun() -> bool:
        return any(key.startswith(f"{batch}/") for key in system.keys(system.settings.out_bucket))

    def strike() -> None:
        wait_for(begun, ANSWER_SECONDS, "nothing was labelled")
        meanwhile()

    with ThreadPoolExecutor(5) as threads:
        struck = threads.submit(strike)
        list(threads.map(lambda n: put_like_the_page(system, batch, n, pictures[n : n + 4]), range(0, COUNT, 4)))
        struck.result()
    return batch


def assert_one_result_each(system: RunningSystem, batch: str) -> None:
    settings = system.settings

    def answered() -> bool:
        try:
            found = requests.get(f"{system.address}/batches/{batch}.json", timeout=30).json()["photos"]
        except requests.RequestException:
            return False
        return [one["state"] for one in found] == ["done"] * COUNT

    wait_for(answered, ANSWER_SECONDS, lambda: f"not every photo was labelled: {system.text()[-3000:]}")
    inputs, outputs = system.keys(settings.in_bucket), system.keys(settings.out_bucket)
    assert len(inputs) == COUNT
    assert inputs == {key for key in outputs if not key.startswith("deleted/")}
    wait_for(lambda: system.waiting(settings.req_queue) == 0, 60, "the request queue did not empty")
    assert system.waiting(settings.dead_queue) == 0
    system.wait_until_empty()


def left_of(system: RunningSystem, batch: str) -> list[str]:
    """What is there of a deleted batch but its tombstone, and the queues that hold messages."""
    chosen, s3 = system.settings, system.client("s3")
    listed = [s3.list_objects_v2(Bucket=bucket).get("Contents", ()) for bucket in (chosen.in_bucket, chosen.out_bucket)]
    keys = [one["Key"] for some in listed for one in some if batch in one["Key"] and one["Key"] != f"deleted/{batch}"]
    return keys + [one for one in (chosen.req_queue, chosen.resp_queue, chosen.dead_queue) if system.waiting(one)]


def delete_under_work(system: RunningSystem, pictures: list[bytes]) -> None:
    """Delete a batch that workers hold. One of them dies, the others go on, a photo and its message come late."""
    chosen, sqs, stopped = system.settings, system.client("sqs"), list[psutil.Process]()

    def stop_the_workers() -> None:
        stopped.extend(system.workers())
        for one in stopped:
            one.suspend()

    def send(queue: str) -> None:
        sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"], MessageBody=late.to_json())

    batch = submit(system, pictures, stop_the_workers)
    page, late = f"{system.address}/batches/{batch}", Job(batch, 0, "0.jpg", chosen.resp_queue)
    photos = requests.get(f"{page}.json", timeout=30).json()["photos"]
    of_one = f"{page}/photos/{[one['state'] for one in photos].index('done')}"
    assert requests.get(f"{of_one}/thumbnail", timeout=30).ok
    assert requests.post(f"{of_one}/correction", {"label": "goldfish"}, timeout=30).ok
    assert any(key.startswith(f"corrections/{batch}/") for key in system.keys(chosen.out_bucket))
    send(chosen.dead_queue)

    assert requests.delete(f"{system.address}/v1/batches/{batch}", timeout=60).json()["photos"] == COUNT
    stopped[0].kill()
    for one in stopped[1:]:
        one.resume()
    system.client("s3").put_object(Bucket=chosen.in_bucket, Key=late.key, Body=pictures[0])
    send(chosen.req_queue)

    wait_for(lambda: not left_of(system, batch), ANSWER_SECONDS, lambda: f"left: {left_of(system, batch)}")
    assert f"deleted/{batch}" in system.keys(chosen.out_bucket)
    assert {requests.get(one, timeout=30).status_code for one in (f"{page}.json", f"{of_one}/thumbnail")} == {404}


def test_kill_9_of_a_busy_worker(system: RunningSystem, pictures: list[bytes]) -> None:
    system.start()
    delete_under_work(system, pictures)
    killed: list[int] = []

    def kill() -> None:
        worker = system.workers()[0]
        worker.kill()
        killed.append(worker.pid)

    assert_one_result_each(system, submit(system, pictures, kill))
    assert killed


def test_kill_9_of_the_controller(system: RunningSystem, pictures: list[bytes]) -> None:
    system.start()
    assert_one_result_each(system, submit(system, pictures, lambda: system.part("-m controller").kill()))
    assert "controller ended (status -9); starting it again" in system.text()


def test_kill_9_of_the_web_process(system: RunningSystem, pictures: list[bytes]) -> None:
    system.start()
    assert_one_result_each(system, submit(system, pictures, lambda: system.part("web_tier").kill()))
    assert "web ended (status -9); starting it again" in system.text()


def test_kill_9_of_the_web_process_while_clients_wait(system: RunningSystem, pictures: list[bytes]) -> None:
    """What was accepted of clients that lost their connection is labelled all the same."""
    system.start()

    def ask(number: int) -> None:
        files = {"inputFile": (f"{number}.jpg", pictures[number])}
        try:
            requests.post(system.address, files=files, timeout=120)
        except requests.RequestException:
            return

    settings = system.settings
    with ThreadPoolExecutor(20) as clients:
        asked = [clients.submit(ask, number) for number in range(20)]
        wait_for(lambda: len(system.keys(settings.in_bucket)) >= 10, 60, "photos did not arrive")
        system.part("web_tier").kill()
        for one in asked:
            one.result()

    def unlike() -> set[str]:
        return system.keys(settings.out_bucket) ^ system.keys(settings.in_bucket)

    wait_for(
        lambda: not unlike(),
        ANSWER_SECONDS,
        lambda: f"keys in one bucket alone: {sorted(unlike())}; {system.text()[-3000:]}",
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_any_end_leaves_no_process_and_no_lock(
    system: RunningSystem, pictures: list[bytes], how: signal.Signals
) -> None:
    system.start()
    with ThreadPoolExecutor(1) as aside:
        aside.submit(requests.post, system.address, files={"inputFile": ("a.jpg", pictures[0])}, timeout=60)
        wait_for(system.workers, 60, "no worker came")
        status = system.stop(how)
        wait_for(lambda: not system.processes(), GONE_SECONDS, f"left: {system.processes()}")
    assert status == (-9 if how is signal.SIGKILL else 0)
    system.start()
    assert system.stop() == 0, system.text()[-3000:]


def test_a_controller_whose_cloud_is_silent_ends_all_the_same(system: RunningSystem) -> None:
    system.start()
    wait_for(lambda: "acting with token" in system.text(), 60, "the controller did not start")
    controller = system.part("-m controller")
    silent = [one for one in system.processes() if {"uvicorn", "local_cloud"} & set(one.cmdline())]
    assert silent
    for one in silent:
        one.suspend()
    try:
        system.stop(signal.SIGKILL)
        wait_for(lambda: not controller.is_running(), GONE_SECONDS, "the controller waits for an answer")
    finally:
        for one in silent:
            one.resume()


def test_a_closed_terminal_ends_everything(system: RunningSystem) -> None:
    system.state_dir.mkdir(parents=True)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "shoal_cli", "up"], system.environment)
    shown = threading.Event()

    def read() -> None:
        text = b""
        while b"Shoal is ready" not in text:
            text += os.read(terminal, 4096)
        shown.set()

    threading.Thread(target=read, daemon=True).start()
    assert shown.wait(90)
    os.close(terminal)
    assert os.waitpid(pid, 0)
    wait_for(lambda: not system.processes(), GONE_SECONDS, "processes are left")
    system.spawn()  # so that the fixture has something to stop


def failing_start(system: RunningSystem, **changes: str) -> str:
    """What a start that cannot work says: a line, or two when a part of it has said why."""
    done = subprocess.run(
        [sys.executable, "-m", "shoal_cli", "up"],
        cwd=ROOT, env=system.environment | changes, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    told = [line for line in done.stderr.strip().splitlines() if line.startswith("shoal: ")]
    assert 1 <= len(told) <= 2
    assert "Traceback" not in done.stderr
    return "\n".join(told)


def test_a_port_in_use_is_one_clear_line(system: RunningSystem) -> None:
    with socket.create_server(("127.0.0.1", system.port)):
        line = failing_start(system)
    assert f"port {system.port} is in use" in line
    assert "SHOAL_PORT" in line
    system.spawn()


def test_a_second_start_in_the_same_folder_is_one_clear_line(system: RunningSystem) -> None:
    system.start()
    assert "already runs" in failing_start(system, SHOAL_PORT="1")


def test_a_wrong_setting_is_one_clear_line(system: RunningSystem) -> None:
    assert "SHOAL_MAX_INSTANCES" in failing_start(system, SHOAL_MAX_INSTANCES="many")
    assert "nonesuch" in failing_start(system, SHOAL_MODEL="nonesuch")
    system.spawn()


def test_two_systems_side_by_side(system: RunningSystem, tmp_path: Path, pictures: list[bytes]) -> None:
    other = RunningSystem(tmp_path / "other", PREFIX="other", MAX_INSTANCES=1)
    system.start()
    other.start()
    try:
        for one in (system, other):
            answer = requests.post(one.address, files={"inputFile": ("a.jpg", pictures[0])}, timeout=120)
            assert answer.text.startswith("a:")
        assert len(other.keys("other-in-bucket")) == len(system.keys("shoal-in-bucket")) == 1
    finally:
        assert other.stop() == 0


def test_a_second_controller_is_turned_away(system: RunningSystem) -> None:
    system.start()
    wait_for(lambda: "controller: watching" in system.text(), 30, "the first controller did not start")
    done = subprocess.run(
        [sys.executable, "controller.py"],
        cwd=ROOT, env=system.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "another controller runs" in done.stderr


def test_a_second_worker_finds_the_first_and_leaves(system: RunningSystem, pictures: list[bytes]) -> None:
    system.start()
    requests.post(system.address, files={"inputFile": ("a.jpg", pictures[0])}, timeout=60)
    [worker] = system.workers()
    assert (Path(worker.environ()["SHOAL_RUN_DIR"]) / "open-photos").stat().st_size == FILE_BYTES
    assert worker.environ()["AWS_METADATA_SERVICE_NUM_ATTEMPTS"] == "5"  # of start-worker; boto3's own is 1
    done = subprocess.run([ROOT / "ami" / "start-worker"], env=worker.environ(), timeout=30, check=False)
    assert done.returncode == 0
    as_unit = subprocess.run([ROOT / "ami" / "start-worker", "unit"], env=worker.environ(), timeout=30, check=False)
    assert as_unit.returncode == 75  # 0 would end the machine
    assert [one.pid for one in system.workers()] == [worker.pid]
