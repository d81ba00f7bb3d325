"""The venue `local`: photos are labelled in the web process, with the real engine."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from inference import process
from inference.answer import Answer, Decoded
from shoal.buckets.folder_store import FolderStore
from shoal.buckets.written_behind import WriteBehind
from shoal.clock import SystemClock
from shoal.errors import NotFound, Permanent, Retryable
from shoal.memory import MemoryStore, memory_cloud
from shoal.messages import Job, Result
from tests import inference_fixtures
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site
from web_tier.venues import local

BATCH = "1m7yv8wnwyewm4djehxe"
FLEET_REFUSED = "GET /fleet: 404 This server labels photos itself: it has no pool of machines to show."
CAT = (inference_fixtures.EXAMPLES / "cat.jpg").read_bytes()


class SlowRecogniser:
    """The real recogniser, whose engine waits until it may go on."""

    def __init__(self) -> None:
        self._inner = inference_fixtures.recogniser()
        self.go = threading.Event()
        self.decoded = 0
        self.batches: list[int] = []
        self.failures = 0

    def decode(self, model: str, payload: bytes) -> Decoded:
        self.decoded += 1
        return self._inner.decode(model, payload)

    def infer(self, model: str, decoded: Sequence[Decoded]) -> list[Answer]:
        assert self.go.wait(30)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the engine broke")
        self.batches.append(len(decoded))
        return self._inner.infer(model, decoded)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowRecogniser]:
    recogniser = SlowRecogniser()
    monkeypatch.setattr(local, "load", lambda _: recogniser)
    yield recogniser
    recogniser.go.set()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with local_site() as running:
        yield running


@contextmanager
def local_site(**changes: Any) -> Iterator[Site]:
    usual = {"venue": "local", "cache_dir": inference_fixtures.cache_dir(), "precision": "float32"}
    with running_site(work=False, **{**usual, **changes}) as running:
        yield running


def label(site: Site, photo: bytes = CAT, **query: str) -> requests.Response:
    return requests.post(f"{site.url}/v1/label", data=photo, params=query, timeout=30)


def stored(site: Site) -> list[str]:
    return [one.key for one in site.cloud.outputs.list("") if not one.key.startswith("idempotency/")]


def test_every_door_gives_the_label_of_the_pools_worker(site: Site) -> None:
    recogniser = inference_fixtures.recogniser()
    for path in inference_fixtures.PHOTOS:
        photo = path.read_bytes()
        job = Job(BATCH, 0, path.name, "")
        expected = process.process(recogniser, job, photo)
        told = label(site, photo, name=path.name)
        assert told.status_code == 200, told.text
        names = [one["name"] for one in told.json()["labels"]]
        assert names == [one.name for one in expected.labels[: len(names)]]
        files = {"inputFile": (path.name, photo)}
        assert requests.post(site.url, files=files, timeout=30).text == f"{path.stem}:{expected.label}"
        sent = requests.post(f"{site.url}/v1/batches", files=files, timeout=30).json()
        assert (sent["state"], sent["photos"][0]["labels"][0]["name"]) == ("done", expected.label)


def test_the_result_is_stored_within_a_second_and_the_photo_of_a_form_after_it(site: Site) -> None:
    batch = label(site).json()["batch"]
    until(lambda: list(site.cloud.outputs.list(f"{batch}/")), seconds=1.0)
    key = f"{batch}/00000/photo"
    result = Result.from_json(site.cloud.outputs.get(key))
    assert (result.status, result.worker, set(result.seconds)) == (
        "done",
        "local",
        {"queue", "decode", "wait", "infer"},
    )
    assert all(spent == round(spent, 4) for spent in result.seconds.values())
    assert not list(site.cloud.inputs.list(f"{batch}/"))
    files = {"inputFile": ("cat.jpg", CAT)}
    batch = requests.post(f"{site.url}/v1/batches", files=files, timeout=30).json()["batch"]
    until(lambda: list(site.cloud.inputs.list(f"{batch}/")), seconds=1.0)
    assert site.cloud.inputs.get(f"{batch}/00000/cat.jpg") == CAT
    assert not site.cloud.requests.depth().total


def test_page_and_table_show_a_batch_at_once(site: Site) -> None:
    headers = {"Sec-Fetch-Mode": "navigate", "Origin": site.url}
    files = [("inputFile", (f"cat{number}.jpg", CAT)) for number in range(3)]
    page = requests.post(site.url, files=files, headers=headers, timeout=30)
    assert page.status_code == 200
    assert page.text.count("Egyptian cat") >= 3
    table = requests.get(f"{page.url}.csv", timeout=10).text
    assert table.count(",Egyptian_cat,") == 3


def test_a_form_with_many_photos_and_a_bad_one(site: Site) -> None:
    files = [("inputFile", (f"{number}.jpg", CAT if number != 5 else b"no photo")) for number in range(20)]
    told = requests.post(f"{site.url}/v1/batches", files=files, timeout=60).json()
    assert (told["done"], told["failed"], told["queued"]) == (19, 1, 0)
    assert [photo["state"] for photo in told["photos"]].index("failed") == 5
    assert not list(site.cloud.outputs.list("pending/"))


@pytest.mark.parametrize(
    ("photo", "query", "status", "said"),
    [
        (b"", {}, 400, "The body is empty"),
        (b"no photo", {}, 422, "not an image"),
        (CAT, {"model": "resnet5"}, 400, "is not served here. These are: resnet50. Did you mean resnet50?"),
        (CAT, {"venue": "nope"}, 400, "There is no venue 'nope'"),
        (CAT, {"venue": "pool"}, 403, "The venue pool is not allowed here"),
        (CAT, {"venue": "local"}, 200, "Egyptian_cat"),
    ],
)
def test_a_request_that_is_wrong_is_told_so(
    site: Site, photo: bytes, query: dict[str, str], status: int, said: str
) -> None:
    told = label(site, photo, **query)
    assert (told.status_code, said in told.text) == (status, True), told.text


def test_a_form_belongs_to_another_door(site: Site) -> None:
    told = requests.post(f"{site.url}/v1/label", files={"inputFile": ("cat.jpg", CAT)}, timeout=10)
    assert (told.status_code, "/v1/batches" in told.json()["detail"]) == (415, True)


def test_a_request_names_the_venue_where_the_operator_allows_it() -> None:
    cache = inference_fixtures.cache_dir()
    with running_site(venues="local", cache_dir=cache, precision="float32") as site:
        assert label(site, name="test_0.jpg", venue="local").json()["labels"][0]["name"] == "Egyptian_cat"
        assert label(site, name="test_0.jpg").json()["labels"][0]["name"] == "hair_spray"  # the fake worker's
    with running_site() as site:
        refused = label(site, venue="local")
        assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden")


def test_a_venue_that_is_not_prepared_says_so_and_the_pool_goes_on(tmp_path: Path) -> None:
    with running_site(venues="local", cache_dir=tmp_path) as site:
        told = label(site, venue="local")
        assert (told.status_code, told.headers["Content-Type"]) == (501, "application/problem+json")
        assert "shoal models prepare" in told.json()["detail"]
        assert label(site, jpeg()).status_code == 200
    with pytest.raises(NotFound), running_site(venue="local", cache_dir=tmp_path):
        pass


def test_a_full_queue_is_503_with_retry_after_and_what_was_accepted_is_answered(slow: SlowRecogniser) -> None:
    # Threads for all of them: up to 46 photos can be in the queue and in the engine.
    with local_site(web_threads=128) as site, ThreadPoolExecutor(60) as clients:
        asked = [clients.submit(label, site) for _ in range(60)]
        until(lambda: sum(one.done() for one in asked) >= 10)
        refused = [one.result() for one in asked if one.done()]
        assert {one.status_code for one in refused} == {503}
        assert all(1 <= int(one.headers["Retry-After"]) <= 3 for one in refused)
        assert all("two seconds" in one.json()["detail"] for one in refused)
        assert label(site, b"no photo").status_code == 503  # it is not looked at
        check_that_the_server_refuses_as_the_app_does(site)
        assert not stored(site)  # a refusal writes nothing
        slow.go.set()
        states = [one.result().status_code for one in asked]
        assert (states.count(200) + states.count(503), states.count(200) >= 25) == (60, True)
        until(lambda: len(stored(site)) == states.count(200), seconds=1.0)
        assert max(slow.batches) > 1


def check_that_the_server_refuses_as_the_app_does(site: Site) -> None:
    """A server that closes the connection lets the app refuse; else its loop does, and the connection stays."""
    with requests.Session() as line:
        early = [line.post(f"{site.url}/v1/label", data=b"x" * 300_000, timeout=30) for _ in range(2)]
        assert line.get(f"{site.url}/healthz", timeout=30).status_code == 200
    regular = requests.post(f"{site.url}/v1/label", data=CAT, headers={"Connection": "close"}, timeout=30)
    told = [(one.status_code, one.json(), {**one.headers, "Connection": "", "Date": ""}) for one in (*early, regular)]
    assert told[0] == told[1] == told[2]
    assert all(one.headers["Date"].endswith("GMT") for one in early)
    assert label(site, venue="nonesuch").status_code == 400


def test_clients_are_served_in_turn(slow: SlowRecogniser) -> None:
    order: list[str] = []

    def ask(site: Site, address: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, source_address=(address, 0), timeout=30)
        connection.request("POST", "/v1/label", CAT)
        status = connection.getresponse().status
        order.append(address)
        connection.close()
        return status

    with local_site() as site, ThreadPoolExecutor(36) as clients:
        # They have places, however late decoding begins.
        greedy = [clients.submit(ask, site, "127.0.0.1") for _ in range(30)]
        services = site.server._services
        engine = services.venues.chosen._engine  # type: ignore[attr-defined]
        until(lambda: len(engine._waiting) + slow.decoded >= 30)
        modest = [clients.submit(ask, site, "127.0.0.2") for _ in range(2)]
        until(lambda: len(engine._waiting._clients.get("127.0.0.2", ())) == 2)
        slow.go.set()
        assert {one.result() for one in [*greedy, *modest]} == {200}
    last = max(at for at, address in enumerate(order) if address == "127.0.0.2")
    assert last < 26  # first come, first served would make it the last; at most 14 are taken from the queue before


def test_a_client_that_leaves_costs_no_decoding(slow: SlowRecogniser) -> None:
    count = 28  # more than can be in work
    with local_site() as site, ThreadPoolExecutor(count) as clients:
        staying = [clients.submit(label, site) for _ in range(count)]
        services = site.server._services
        engine = services.venues.chosen._engine  # type: ignore[attr-defined]
        until(lambda: len(engine._waiting) + slow.decoded >= count)
        leaving = socket.create_connection(("127.0.0.1", site.port), timeout=10)
        leaving.sendall(b"POST /v1/label HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(CAT) + CAT)
        until(lambda: len(engine._waiting) + slow.decoded > count)
        (gone,) = list(engine._waiting._clients.values())[-1:]
        photo = gone[-1]
        leaving.close()
        until(photo.left)
        slow.go.set()
        assert {one.result().status_code for one in staying} == {200}
        until(photo.answer.done)
        assert slow.decoded == count
        until(lambda: len(stored(site)) == count)


def test_an_engine_that_fails_once_costs_nothing_and_one_that_fails_again_says_send_again(
    slow: SlowRecogniser, caplog: pytest.LogCaptureFixture
) -> None:
    slow.go.set()
    with local_site() as site, caplog.at_level(logging.CRITICAL):
        slow.failures = 1
        assert label(site).status_code == 200
        slow.failures = 2
        told = label(site)
        assert (told.status_code, "send it again" in told.json()["detail"]) == (503, True)
        assert label(site).status_code == 200


def test_photos_are_labelled_again_in_batches(slow: SlowRecogniser) -> None:
    jobs = [Job(BATCH, number, "cat.jpg", "") for number in range(12)]
    with local_site() as site, ThreadPoolExecutor(1) as threads:
        for job in jobs:
            site.cloud.inputs.put(job.key, CAT, "image/jpeg")
        done = threads.submit(site.server._services.venues.chosen.again, jobs)
        until(lambda: slow.decoded > 2)  # one after another none but the first would be decoded
        slow.go.set()
        done.result()
        until(lambda: len(list(site.cloud.outputs.list(f"{BATCH}/"))) == len(jobs))


@pytest.mark.parametrize("photos_in_work_end", [True, False])
def test_a_stop_tells_those_who_wait_to_send_again(slow: SlowRecogniser, photos_in_work_end: bool) -> None:
    with ThreadPoolExecutor(12) as clients:
        with local_site() as site:
            asked = [clients.submit(label, site) for _ in range(12)]
            engine = site.server._services.venues.chosen._engine  # type: ignore[attr-defined]
            until(lambda: len(engine._waiting) + slow.decoded >= 12)
            if photos_in_work_end:
                slow.go.set()
        answers = [one.result() for one in asked]
    assert {one.status_code for one in answers} <= ({200, 503} if photos_in_work_end else {503})
    assert all("again" in one.json()["detail"] for one in answers if one.status_code == 503)


class AwayStore(MemoryStore):
    """A store that is away."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.away = True

    def put(self, key: str, body: bytes, content_type: str) -> None:
        if self.away:
            raise Retryable("away")
        super().put(key, body, content_type)


def test_results_wait_for_a_store_that_is_away_and_are_seen_all_the_same() -> None:
    outputs = AwayStore()
    cloud = replace(memory_cloud(SystemClock()), outputs=outputs)
    usual: dict[str, Any] = {"venue": "local", "cache_dir": inference_fixtures.cache_dir(), "precision": "float32"}
    with running_site(cloud, work=False, **usual) as site:
        batch = label(site).json()["batch"]
        assert requests.get(f"{site.url}/v1/batches/{batch}", timeout=10).json()["done"] == 1
        assert not list(outputs.list(""))
        outputs.away = False
        until(lambda: list(outputs.list(f"{batch}/")))


def test_too_much_that_waits_to_be_written_refuses_more() -> None:
    behind = WriteBehind(most_bytes=10)
    store = behind.around(MemoryStore(SystemClock()))
    store.put_later("a", b"x" * 11, "text/plain")
    with pytest.raises(Retryable):
        behind.check()
    store.put("a", b"now", "text/plain")  # takes the place of the other
    behind.check()
    behind.start()
    behind.stop(5)
    assert store.get("a") == b"now"


def in_folder(folder: Path) -> Any:
    return FolderStore(folder)


def behind_memory(_: Path) -> Any:
    return WriteBehind().around(MemoryStore(SystemClock()))


@pytest.mark.parametrize("batch", ["b", "06hrc1v00" + "b" * 11])
@pytest.mark.parametrize("make", [in_folder, behind_memory])
def test_a_store_of_this_process_keeps_the_rules_of_a_bucket(
    make: Callable[[Path], Any], batch: str, tmp_path: Path
) -> None:
    store = make(tmp_path)
    put = getattr(store, "put_later", store.put)
    keys = [f"{batch}/00000/a.jpg", f"{batch}/00001@resnet50/ü %, 2.jpg", f"{batch}/00002/{'long' * 63}"]
    put(keys[1], b"1", "image/jpeg")
    store.put(keys[0], b"0", "image/jpeg")
    store.put(f"{batch[:-1]}bc/00000/a.jpg", b"20", "image/jpeg")
    store.put("webhooks/a/b/c", b"4", "text/plain")
    assert store.put_new(keys[2], b"3", "image/jpeg")
    assert not store.put_new(keys[1], b"4", "image/jpeg")
    assert [one.key for one in store.list(f"{batch}/")] == keys
    assert [one.key for one in store.list(f"{batch}/", keys[0])] == keys[1:]
    assert [one.key for one in store.list(f"{batch}/0000")] == keys
    assert [one.key for one in store.list(batch[:1])] == [*keys, f"{batch[:-1]}bc/00000/a.jpg"]
    assert [one.size for one in store.list(f"{batch[:-1]}bc")] == [2]
    assert [one.key for one in store.list("", f"{batch[:-1]}c")] == ["webhooks/a/b/c"]
    assert store.get(keys[1]) == b"1"
    for key in keys[1:]:
        store.delete(key)
        store.delete(key)
        with pytest.raises(NotFound):
            store.get(key)
    assert [one.key for one in store.list(f"{batch}/")] == keys[:1]
    assert not list(store.list("nothing/"))


def test_a_folder_of_an_older_version_is_read(tmp_path: Path) -> None:
    key = "06hrc1v00" + "b" * 11 + "/00000/cat.jpg"
    (tmp_path / key).parent.mkdir(parents=True)
    (tmp_path / key).write_bytes(b"old")
    store = FolderStore(tmp_path)
    assert ([one.key for one in store.list(key[:21])], store.get(key)) == ([key], b"old")
    store.delete(key)
    assert not list(store.list(""))


def test_a_folder_gives_nothing_outside_of_it(tmp_path: Path) -> None:
    for key in ("../a", "a//b", "a/../../b", "/etc/passwd", "at-06hrc1/a"):
        with pytest.raises(Permanent):
            FolderStore(tmp_path / "store").put(key, b"", "text/plain")


def check_that_no_pool_is_told_of(address: str, environment: dict[str, str]) -> None:
    assert requests.get(f"{address}/readyz", timeout=10).json()["checks"] == {
        "input bucket": "ok",
        "output bucket": "ok",
    }
    told = requests.get(f"{address}/estimate?photos=2000", timeout=10).json()
    assert (told["dollars"], told["words"].endswith(", on this server")) == (0, True)
    assert 2000 / told["seconds"] < 1000
    named = requests.post(f"{address}/v1/label?venue=pool", data=CAT, timeout=30)
    assert (named.status_code, named.json()["detail"]) == (400, "There is no venue 'pool'. These are: local.")
    assert "has no pool" in requests.get(f"{address}/fleet", timeout=10).text
    assert "/fleet" not in requests.get(address, headers={"Accept": "text/html"}, timeout=10).text
    environment = environment | {"SHOAL_PORT": address.rpartition(":")[2]}
    page = f"page: {address} answers"
    for word, told in (("status", "has no queue and no workers"), ("why", "without a controller"), ("doctor", page)):
        command = [sys.executable, "-m", "shoal_cli", word]
        asked = subprocess.run(
            command,
            cwd=inference_fixtures.ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = asked.stdout + asked.stderr
        assert (asked.returncode, told in said) == (int(word != "doctor"), True), said


def test_shoal_serve_is_one_process_that_labels_and_ends(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SHOAL_"))}
    environment |= {"SHOAL_CACHE_DIR": str(inference_fixtures.cache_dir()), "SHOAL_PRECISION": "float32"}
    environment["SHOAL_STATE_DIR"] = str(tmp_path / "state")
    command = [sys.executable, "-m", "shoal_cli", "serve", "--port", "0", "--results", str(tmp_path / "kept")]
    running = subprocess.Popen(
        command, cwd=inference_fixtures.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        assert select.select([running.stdout], [], [], 30)[0]
        line = running.stdout.readline()
        found = re.match(r"Serving resnet50 \(openvino\) at (http://127\.0\.0\.1:\d+), results in (.+)\. Ctrl-C", line)
        assert found, line
        told = requests.post(f"{found[1]}/v1/label?name=cat.jpg", data=CAT, timeout=30).json()
        assert told["labels"][0]["name"] == "Egyptian_cat"
        batch = told["batch"]
        path = tmp_path / "kept" / "results" / f"at-{batch[:6]}" / f"{batch},00000,cat.jpg"
        until(path.is_file, seconds=2)
        assert json.loads(path.read_text())["labels"][0]["name"] == "Egyptian_cat"
        assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("state", "kept")} == {0o700}
        (venue,) = requests.get(f"{found[1]}/venues.json", timeout=30).json()["venues"]
        assert (venue["name"], venue["peak_bytes"] > 50_000_000) == ("local", True)
        check_that_no_pool_is_told_of(found[1], environment)
        elsewhere = environment | {
            "SHOAL_STATE_DIR": str(tmp_path / "other"),
            "SHOAL_PORT": found[1].rpartition(":")[2],
        }
        taken = subprocess.run(command[:4], cwd=inference_fixtures.ROOT, env=elsewhere, capture_output=True, text=True)
        assert (taken.returncode, "is in use: stop what uses it" in taken.stderr) == (1, True), taken.stderr
        assert not (tmp_path / "other").exists()
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text()
        subprocess.run([*command[:3], "down"], cwd=inference_fixtures.ROOT, env=environment, timeout=60, check=True)
        _, errors = running.communicate(timeout=15)
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, children) == (0, "")
    assert FLEET_REFUSED in errors
    assert all(" INFO " in line for line in errors.splitlines()), errors


def test_shoal_serve_says_when_its_model_is_not_prepared(tmp_path: Path) -> None:
    state = tmp_path / "state"
    environment = dict(os.environ) | {"SHOAL_CACHE_DIR": str(tmp_path / "cache"), "SHOAL_STATE_DIR": str(state)}
    command = [sys.executable, "-m", "shoal_cli", "serve", "--port", "0"]
    ended = subprocess.run(
        command, cwd=inference_fixtures.ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr.count("shoal models prepare")) == (1, 1), ended.stderr
    assert not state.exists()
