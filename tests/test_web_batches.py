"""A batch on its page, as JSON and as events: lost messages, restarts, retries, clients that go."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import requests

from benchmarks.web import watch_page
from shoal.clock import SystemClock
from shoal.errors import Retryable
from shoal.memory import memory_cloud
from shoal.messages import CANCELLED, Job, Result, new_batch
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site, settings
from web_tier import services as web_services
from web_tier.app import create_app
from web_tier.results.collector import Collector
from web_tier.results.hub import Hub
from web_tier.results.pace import FIRST_SECONDS, LONGEST_SECONDS, Pace
from web_tier.services import EXTENSION, Services
from web_tier.watching.pool_poller import pool_state
from web_tier.words import duration

PAGE = {"Accept": "text/html"}


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def idle() -> Iterator[Site]:
    """A web tier whose worker labels only when the test says so."""
    with running_site(work=False) as running:
        yield running


def submit(site: Site, *names: str, payload: bytes | None = None) -> str:
    """Send photos as the page does; returns the batch's address."""
    batch = requests.post(site.url + "/batches", timeout=10).json()["url"]
    files = [("inputFile", (name, payload or jpeg())) for name in names]
    assert requests.post(f"{site.url}{batch}/photos?first=0", files=files, timeout=30).ok
    return f"{site.url}{batch}"


def shown(address: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(address + ".json", timeout=10).json()
    return found


def finished(address: str) -> bool:
    return not shown(address)["queued"]


@contextmanager
def stream(address: str, query: str = "") -> Iterator[Iterator[tuple[str, Any]]]:
    """The events of a batch, as pairs of name and data."""
    with requests.get(f"{address}/events{query}", stream=True, timeout=30) as reply:
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        yield _events(reply.iter_lines(chunk_size=1, decode_unicode=True))


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def next_event(told: Iterator[tuple[str, Any]], wanted: str) -> Any:
    """The data of the next event called `wanted`."""
    return next(data for name, data in told if name == wanted)


def test_the_page_shows_each_photo_with_its_label(site: Site) -> None:
    address = submit(site, "test_0.JPG", "b.jpg")
    until(lambda: finished(address))
    page = requests.get(address, headers=PAGE, timeout=10).text
    assert "test_0.JPG" in page
    assert "hair_spray" in page
    assert "<h1" in page
    assert "Done: 2 photos" in page
    assert 'http-equiv="refresh"' not in page


def test_the_page_refreshes_itself_without_script_while_something_is_open(idle: Site) -> None:
    address = submit(idle, "test_0.JPG")
    page = requests.get(address, headers=PAGE, timeout=10).text
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page
    assert "Waiting for a worker: none is running yet" in page
    idle.cloud.pool.launch(["a", "b", "c"], "t")
    until(lambda: "Labelling: 0 of 1, 3 workers" in requests.get(address, headers=PAGE, timeout=10).text)


def test_an_empty_batch_that_was_given_out_is_known_to_every_web_process(idle: Site) -> None:
    batch = requests.post(idle.url + "/batches", timeout=10).json()
    with running_site(idle.cloud, work=False) as other:
        for url in (idle.url, other.url):
            assert shown(url + batch["url"])["total"] == 0
            assert "Waiting for photos" in requests.get(url + batch["url"], headers=PAGE, timeout=10).text


@pytest.mark.parametrize("age", [-120.0, 2 * 3600.0])
def test_an_empty_batch_of_another_time_is_unknown(idle: Site, age: float) -> None:
    batch = new_batch(time.time() - age)
    for path in (f"/batches/{batch}.json", f"/batches/{batch}/events", f"/v1/batches/{batch}"):
        assert requests.get(idle.url + path, timeout=10).status_code == 404


def test_a_result_that_two_ways_bring_is_told_once(idle: Site) -> None:
    address = submit(idle, "a.jpg", "b.jpg")
    batch = address.rpartition("/")[2]
    with stream(address) as told:
        next_event(told, "snapshot")
        idle.worker.respond = False
        idle.worker.step(1)
        (photo,) = next_event(told, "results")  # from the bucket
        stored = idle.cloud.outputs.get(f"{batch}/{photo['index']:05d}/{photo['name']}")
        idle.cloud.responses.send([stored.decode()])
        until(lambda: not idle.cloud.responses.depth().total)
        idle.worker.respond = True
        idle.worker.step()
        (other,) = next_event(told, "results")
        assert other["name"] != photo["name"]
        assert next_event(told, "done")["total"] == 2


def test_pages_of_one_batch_share_what_they_ask_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = memory_cloud(SystemClock())
    monkeypatch.setattr("web_tier.results.batches.LISTS_AT_ONCE", 1)
    services: Services = create_app(settings(), cloud, SystemClock()).extensions[EXTENSION]
    batch = new_batch(time.time())
    asked, gate = [], threading.Event()
    real = cloud.outputs.list

    def slow(prefix: str, after: str = "", most: int | None = None) -> Any:
        asked.append(prefix)
        assert gate.wait(20)
        return real(prefix, after, most)

    monkeypatch.setattr(cloud.outputs, "list", slow)
    with ThreadPoolExecutor(8) as pages:
        first = pages.submit(services.batches.answers, batch, ())
        until(lambda: asked)
        others = [pages.submit(services.batches.answers, batch, ()) for _ in range(7)]
        key = f"{batch}/00000/a.jpg"
        cloud.outputs.put(key, Result.failed(key, "x").to_json().encode(), "application/json")
        until(lambda: services.batches._asked)
        gate.set()
        first.result(20)
        found = [one.result(20) for one in others]
    assert len(asked) < 8
    assert all([one.key for one in results] == [key] for results in found)  # asked after it was there


@pytest.mark.alone
def test_a_hundred_pages_hear_soon_and_list_the_buckets_once_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = memory_cloud(SystemClock())
    listed: list[str] = []
    for store in (cloud.inputs, cloud.outputs):
        monkeypatch.setattr(store, "list", _counting(store.list, listed))
    with running_site(cloud, work=False, web_threads=256) as site:
        batches = [submit(site, "a.jpg", "b.jpg").rpartition("/")[2] for _ in range(10)]
        told, seconds = asyncio.run(_watch_while_answered(site, batches * 10, listed))
    assert told == [2] * 100
    assert seconds < 5
    looks = len(listed) / len(batches)
    assert looks <= 2 * (2 + seconds), f"{looks} listings a batch in {seconds:.1f} s"


def _counting(real: Any, listed: list[str]) -> Any:
    def listing(prefix: str, after: str = "", most: int | None = None) -> Any:
        listed.append(prefix)
        return real(prefix, after, most)

    return listing


async def _watch_while_answered(site: Site, pages: list[str], listed: list[str]) -> tuple[list[int], float]:
    """Open pages, answer all photos; returns how many results each was told, and how long that took."""
    opened = asyncio.Semaphore(0)
    watching = [asyncio.create_task(watch_page(site.port, batch, opened)) for batch in pages]
    for _ in pages:
        await asyncio.wait_for(opened.acquire(), 20)
    listed.clear()
    began = time.monotonic()
    while await asyncio.to_thread(site.worker.step):
        pass
    told = await asyncio.wait_for(asyncio.gather(*watching), 20)
    return told, time.monotonic() - began


def test_a_slow_store_is_looked_at_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("web_tier.results.pace.time.monotonic", lambda: now[0])
    pace = Pace()
    for took, pause in ((0.01, FIRST_SECONDS), (0.3, 3.0), (5.0, LONGEST_SECONDS)):
        pace.looked(news=True, took_seconds=took)
        now[0] += pause - 0.01
        assert not pace.due
        now[0] += 0.02
        assert pace.due


def test_a_restart_shows_the_same_batch_and_finishes_it() -> None:
    cloud = memory_cloud(SystemClock())
    with running_site(cloud, work=False) as first:
        address = submit(first, "test_0.JPG", "b.jpg", "c.jpg")
        first.worker.step(1)
        before = shown(address)
        path = address.removeprefix(first.url)
    with running_site(cloud, work=False) as second:
        assert shown(second.url + path) == before
        while second.worker.step():
            pass
        assert shown(second.url + path)["done"] == 3


def test_a_lost_response_message_costs_a_request_some_seconds_and_nothing_else() -> None:
    with running_site() as site:
        site.worker.respond = False
        reply = requests.post(site.url, files={"inputFile": ("test_0.JPG", jpeg())}, timeout=20)
        assert reply.text == "test_0:hair_spray"


def test_a_lost_response_message_costs_a_page_some_seconds_and_nothing_else(idle: Site) -> None:
    idle.worker.respond = False
    address = submit(idle, "test_0.JPG")
    with stream(address) as told:
        assert next_event(told, "snapshot")["queued"] == 1
        idle.worker.step()
        (photo,) = next_event(told, "results")
        assert photo["label"] == "hair spray"
        assert next_event(told, "done")["total"] == 1


def test_a_request_that_takes_too_long_names_its_batch() -> None:
    with running_site(work=False, answer_seconds=1.0) as site:
        reply = requests.post(site.url, files={"inputFile": ("test_0.JPG", jpeg())}, timeout=20)
        assert reply.status_code == 504
        address = reply.text.split()[-1]
        site.worker.step()
        assert shown(address)["done"] == 1


def test_events_tell_snapshot_photos_results_pool_and_done_and_then_end(idle: Site) -> None:
    address = submit(idle, "test_0.JPG", "fail.jpg")
    idle.cloud.pool.launch(["a", "b", "c"], "t")
    instances = idle.cloud.pool.describe()
    idle.cloud.pool.drain([instances[0].id])
    with stream(address) as told:
        assert [photo["state"] for photo in next_event(told, "snapshot")["photos"]] == ["queued", "queued"]
        assert next_event(told, "pool") == {"visible": 2, "in_flight": 0, "pending": 0, "running": 2, "draining": 1}
        idle.worker.step()
        results: list[Any] = []
        while len(results) < 2:
            results += next_event(told, "results")
        assert {photo["name"]: photo["state"] for photo in results} == {"test_0.JPG": "done", "fail.jpg": "failed"}
        done = next_event(told, "done")
        assert (done["total"], done["failed"]) == (2, 1)
        assert [name for name, _ in told if name != "pool"] == []


def test_only_what_may_succeed_is_tried_again(idle: Site) -> None:
    address = submit(idle, "a.jpg", "b.jpg", "c.jpg")
    jobs = [Job.from_json(message.body) for message in idle.cloud.requests.receive(10, 0)]
    failures = (Result.failed("", "tried several times"), Result.failed("", "the file is damaged", bad_photo=True))
    for job, result in zip(jobs, (*failures, Result.failed("", CANCELLED)), strict=True):
        idle.cloud.outputs.put(job.key, replace(result, key=job.key).to_json().encode(), "application/json")
    told = requests.get(f"{address}.json", timeout=10).json()["photos"]
    assert [photo["can_retry"] for photo in told] == [True, False, False]
    assert requests.post(f"{address}/retry", timeout=10).json() == {"retried": 1}


def test_events_leave_at_once_and_not_when_the_stream_ends(idle: Site) -> None:
    address = submit(idle, "a.jpg", "b.jpg")
    with stream(address) as told:
        next_event(told, "snapshot")
        assert next_event(told, "status")["total"] == 2  # a page that has sent more does not show this line
        for _ in range(2):  # the second is not sent before the first was read
            idle.worker.step(1)
            assert len(next_event(told, "results")) == 1


def test_a_page_that_still_uploads_is_told_of_new_photos_after_done(idle: Site) -> None:
    address = submit(idle, "test_0.JPG")
    idle.worker.step()
    with stream(address, "?uploading=1") as told:
        assert next_event(told, "done")["total"] == 1
        files = {"inputFile": ("late.jpg", jpeg())}
        requests.post(f"{address}/photos?first=1", files=files, timeout=10)
        assert next_event(told, "photos")[0]["name"] == "late.jpg"
        idle.worker.step()
        assert next_event(told, "done")["total"] == 2


def test_a_long_batch_comes_in_parts(idle: Site) -> None:
    batch = requests.post(idle.url + "/batches", timeout=10).json()["batch"]
    for number in range(1_100):
        key = f"{batch}/{number:05d}/p.jpg"
        idle.cloud.outputs.put(key, Result.failed(key, "no").to_json().encode(), "application/json")
    with stream(f"{idle.url}/batches/{batch}") as told:
        sizes = [
            len(data["photos"] if name == "snapshot" else data) for name, data in told if name in ("snapshot", "photos")
        ]
    assert sizes == [500, 500, 100]


def test_failed_results_are_read_once_and_again_when_they_changed(idle: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = requests.post(idle.url + "/batches", timeout=10).json()["batch"]
    keys = [f"{batch}/{number:05d}/p.jpg" for number in range(30)]
    for key in keys:
        idle.cloud.outputs.put(key, Result.failed(key, "no").to_json().encode(), "application/json")
    read: list[str] = []
    get = idle.cloud.outputs.get

    def counted(key: str) -> bytes:
        read.append(key)
        return get(key)

    monkeypatch.setattr(idle.cloud.outputs, "get", counted)

    def states() -> list[str]:
        read.clear()
        return [one["state"] for one in requests.get(f"{idle.url}/batches/{batch}.json", timeout=10).json()["photos"]]

    assert (states(), sorted(read)) == (["failed"] * 30, keys)
    assert (states(), read) == (["failed"] * 30, [])
    idle.cloud.outputs.put(keys[7], Result(keys[7], "done").to_json().encode(), "application/json")
    assert (states()[7], read) == ("done", [keys[7]])


def test_a_viewer_that_disappears_frees_its_thread() -> None:
    with running_site(work=False, web_threads=4) as site:
        address = submit(site, "a.jpg")
        for _ in range(6):  # more than there are threads
            until(lambda: _look_and_leave(address))
        assert requests.get(site.url + "/healthz", timeout=10).ok


def _look_and_leave(address: str) -> bool:
    with requests.get(address + "/events", stream=True, timeout=10) as reply:
        return reply.ok and next(reply.iter_lines(chunk_size=1)).startswith(b"retry")


def test_too_many_viewers_are_told_to_come_back(idle: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_services, "MOST_STREAMS", 2)
    with running_site(idle.cloud, work=False) as site:
        address = submit(site, "a.jpg")
        with stream(address) as one, stream(address) as two:
            next_event(one, "snapshot")
            next_event(two, "snapshot")
            reply = requests.get(address + "/events", timeout=10)
            assert reply.status_code == 503
            assert "Retry-After" in reply.headers


def test_retry_sends_what_failed_again_and_nothing_else(idle: Site) -> None:
    address = submit(idle, "test_0.JPG", "fail.jpg")
    files = {"inputFile": ("broken.jpg", b"no photo")}
    requests.post(f"{address}/photos?first=2", files=files, timeout=10)
    idle.worker.step()
    until(lambda: shown(address)["failed"] == 2)
    page = requests.get(address, headers=PAGE, timeout=10).text
    assert 'id="retry"' in page
    assert "Try failed photos again" in page
    idle.worker.fail_names = False
    reply = requests.post(address + "/retry", headers=PAGE, timeout=10, allow_redirects=False)
    assert (reply.status_code, reply.headers["Location"]) == (303, address.removeprefix(idle.url))
    states = {photo["name"]: photo["state"] for photo in shown(address)["photos"]}
    assert states == {"test_0.JPG": "done", "fail.jpg": "queued", "broken.jpg": "failed"}
    assert idle.worker.step() == 1
    assert {photo["name"]: photo["state"] for photo in shown(address)["photos"]}["fail.jpg"] == "done"
    assert requests.post(address + "/retry", timeout=10).json() == {"retried": 0}


def test_thumbnails_are_small_jpegs_that_may_be_kept(idle: Site) -> None:
    address = submit(idle, "a.jpg", payload=jpeg(size=(2_000, 1_000)))
    reply = requests.get(address + "/photos/0/thumbnail", timeout=10)
    assert reply.headers["Content-Type"] == "image/jpeg"
    assert "immutable" in reply.headers["Cache-Control"]
    assert len(reply.content) < 20_000
    missing = requests.get(address + "/photos/5/thumbnail", timeout=10)
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "image/svg+xml")
    assert requests.get(f"{idle.url}/batches/nonsense/photos/0/thumbnail", timeout=10).status_code == 404


def test_strange_objects_in_the_buckets_do_not_break_the_page(idle: Site) -> None:
    address = submit(idle, "a.jpg")
    batch = address.rpartition("/")[2]
    idle.cloud.inputs.put(f"{batch}/notes.txt", b"hello", "text/plain")
    idle.cloud.outputs.put(f"{batch}/00000/a.jpg", b"not json", "application/json")
    (photo,) = shown(address)["photos"]
    assert (photo["state"], photo["error"]) == ("failed", "the stored result cannot be read")


def test_a_cloud_that_is_away_is_a_503_and_the_stream_ends(idle: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    address = submit(idle, "a.jpg")

    def away(*_: object) -> Iterator[Any]:
        raise Retryable("the store is away")

    monkeypatch.setattr(idle.cloud.inputs, "list", away)
    reply = requests.get(address, headers=PAGE, timeout=10)
    assert reply.status_code == 503
    assert "does not answer" in reply.text
    assert requests.get(idle.url + "/readyz", timeout=10).status_code == 503
    monkeypatch.setattr(idle.cloud.pool, "describe", away)
    assert requests.get(idle.url + "/healthz", timeout=10).ok


def test_the_collector_drops_what_it_cannot_read_and_goes_on() -> None:
    cloud = memory_cloud(SystemClock())
    hub = Hub()
    collector = Collector(cloud.responses, hub)
    good = Result.failed("1m7yv8wnwyewm4djehxe/00000/a.jpg", "no")
    cloud.responses.send(["nonsense", '{"v": 99}', Result.failed("no key of ours", "x").to_json(), good.to_json()])
    assert collector.collect(0) == 4
    assert hub.recall(good.key) == good
    assert cloud.responses.depth().total == 0


def test_a_response_that_cannot_be_published_is_dropped_and_the_others_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud, hub = memory_cloud(SystemClock()), Hub()
    good, bad = (Result.failed(f"1m7yv8wnwyewm4djehxe/0000{number}/a.jpg", "no") for number in range(2))
    publish = hub.publish

    def breaks(results: list[Result]) -> None:
        if bad in results:
            raise RuntimeError("no such thing")
        publish(results)

    monkeypatch.setattr(hub, "publish", breaks)
    cloud.responses.send([bad.to_json(), "[" * 1020, '{"v":1,"key":"\\ud800"}', good.to_json()])
    assert Collector(cloud.responses, hub).collect(0) == 4
    assert hub.recall(good.key) == good
    assert cloud.responses.depth().total == 0


def test_the_collector_survives_a_queue_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = memory_cloud(SystemClock())
    hub = Hub()
    collector = Collector(cloud.responses, hub)
    real, failures = cloud.responses.receive, iter([Retryable("away"), ValueError("a bug")])

    def receive(max_messages: int, wait_seconds: float) -> Any:
        for failure in failures:
            raise failure
        return real(max_messages, wait_seconds)

    monkeypatch.setattr(cloud.responses, "receive", receive)
    monkeypatch.setattr("web_tier.results.collector.FIRST_PAUSE_SECONDS", 0.01)
    collector.start()
    result = Result.failed("1m7yv8wnwyewm4djehxe/00000/a.jpg", "no")
    cloud.responses.send([result.to_json()])
    until(lambda: hub.recall(result.key))
    collector.stop()


def test_a_listener_hears_its_own_batch_only_and_is_woken_by_it() -> None:
    hub = Hub()
    with hub.listen("one") as one, hub.listen("two") as two:
        threading.Timer(0.05, hub.publish, [[Result.failed("one/0/n", "x")]]).start()
        assert [result.key for result in one.take(10).results] == ["one/0/n"]
        assert not two.take(0)


def test_nobody_reads_the_pool_while_nobody_looks() -> None:
    cloud = memory_cloud(SystemClock())
    services: Services = create_app(settings(), cloud, SystemClock()).extensions[EXTENSION]
    assert not services.hub.wait_for_watcher(0.05)
    with services.hub.listen("b", pool=True):
        assert services.hub.wait_for_watcher(0.05)
    assert pool_state(cloud).visible == 0


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "less than a second"), (1.4, "1 s"), (89.4, "89 s"), (90.5, "2 min"), (600, "10 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
