"""Many connections and slow ones: who waits for whom, and what a client can take from others."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace

import pytest
import requests

from shoal.clock import SystemClock
from shoal.memory import MemoryStore, memory_cloud
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site
from web_tier import server, waitress_internals
from web_tier.access import turns
from web_tier.access.turns import TurnQueue, Urgency
from web_tier.outside.fair_threads import FairThreads
from web_tier.results import open_streams
from web_tier.results.open_streams import EventSource, OpenStreams, Wait
from web_tier.services import STORE_THREADS
from web_tier.venues import pool
from web_tier.venues._store_turns import BESIDE_ANSWERS, LASTING_SECONDS, StoreTurns

EVENTS = "GET /batches/%s/events?uploading=1 HTTP/1.%d\r\nHost: x\r\n\r\n"


def connected(site: Site, source: str = "127.0.0.2") -> socket.socket:
    return socket.create_connection(("127.0.0.1", site.port), 20, source_address=(source, 0))


def read_until(client: socket.socket, end: bytes) -> bytes:
    text = b""
    while end not in text:
        some = client.recv(65536)
        assert some, text
        text += some
    return text


def is_cut(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:  # it had sent what nobody read
        return True


def test_hundreds_of_open_pages_hold_no_thread_and_all_are_told() -> None:
    with ExitStack() as held, running_site(work=False, web_threads=4) as site:
        batch = requests.post(site.url + "/batches", timeout=20).json()["batch"]
        before = threading.active_count()
        pages = [held.enter_context(connected(site)) for _ in range(200)]
        for page in pages:
            page.sendall((EVENTS % (batch, 1)).encode())
        for page in pages:
            assert b"text/event-stream" in read_until(page, b"event: status")
        assert threading.active_count() - before < 40
        assert requests.get(site.url, timeout=20).ok
        files = {"inputFile": ("test_0.JPG", jpeg())}
        requests.post(f"{site.url}/batches/{batch}/photos?first=0", files=files, timeout=20)
        site.worker.step()
        for page in pages:
            read_until(page, b"event: done")
    for page in pages:
        page.close()


def test_connections_of_open_pages_count_until_they_are_closed() -> None:
    with ExitStack() as held, running_site(work=False, connections_per_address=10) as site:
        batch = requests.post(site.url + "/batches", timeout=20).json()["batch"]
        for _ in range(10):
            page = held.enter_context(connected(site))
            page.sendall((EVENTS % (batch, 1)).encode())
            read_until(page, b"event: snapshot")
        with closing(connected(site)) as one_more:
            assert is_cut(one_more)
        page.close()

        def comes_in() -> bool:
            with closing(connected(site)) as client, suppress(OSError):
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                return bool(client.recv(1))
            return False

        until(comes_in)


def test_the_end_of_a_stream_is_the_end_of_its_chunks_or_of_the_connection() -> None:
    with running_site() as site:
        files = {"inputFile": ("test_0.JPG", jpeg())}
        batch = requests.post(site.url + "/v1/batches", files=files, timeout=20).json()["batch"]
        with closing(connected(site)) as new, closing(connected(site)) as old:
            for version, client in ((1, new), (0, old)):
                client.sendall((EVENTS % (batch, version)).replace("?uploading=1", "").encode())
            assert read_until(new, b"\r\n0\r\n\r\n").count(b"Transfer-Encoding: chunked") == 1
            text = b""
            while some := old.recv(65536):
                text += some
            assert b"chunked" not in text
            assert text.endswith(b"\n\n")
        assert not requests.head(f"{site.url}/batches/{batch}/events", timeout=20).content


def test_who_never_sends_the_head_of_a_request_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waitress_internals, "HEAD_SECONDS", 0.0)
    monkeypatch.setitem(server.ADJUSTMENTS, "cleanup_interval", 0)
    with running_site(work=False) as site, closing(connected(site)) as silent, closing(connected(site)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHo")
        assert is_cut(silent)
        assert is_cut(slow)


def test_who_sends_a_body_drop_by_drop_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waitress_internals, "BODY_SECONDS", 0.0)
    monkeypatch.setitem(server.ADJUSTMENTS, "cleanup_interval", 0)
    with running_site(work=False) as site, closing(connected(site)) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\nabc")
        assert is_cut(slow)


def test_photos_that_wait_for_labels_leave_threads_for_pages_and_health() -> None:
    with ExitStack() as held, running_site(work=False, web_threads=4) as site:
        part = b'Content-Disposition: form-data; name="inputFile"; filename="a.jpg"'
        body = b"--x\r\n%b\r\n\r\n%b\r\n--x--" % (part, jpeg())
        lines = ("POST / HTTP/1.1", "Host: x", "Content-Type: multipart/form-data; boundary=x")
        sent = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body
        for _ in range(30):
            held.enter_context(connected(site)).sendall(sent)
        until(lambda: site.cloud.requests.depth().visible >= 1)
        for path in ("/healthz", "/", "/readyz"):
            assert requests.get(site.url + path, timeout=20).ok
        with closing(connected(site, "127.0.0.3")) as other:
            before = site.cloud.requests.depth().visible
            other.sendall(sent)
            until(lambda: site.cloud.requests.depth().visible > before)


def test_silent_connections_of_many_clients_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waitress_internals, "MOST_CONNECTIONS", 20)
    with ExitStack() as held, running_site(work=False) as site:
        silent = [held.enter_context(connected(site, f"127.0.0.{2 + number}")) for number in range(60)]
        assert requests.get(site.url, timeout=20).ok
        assert is_cut(silent[0])  # the oldest
        held.enter_context(connected(site)).sendall(b"GET / HTTP/1.1\r\n")
        assert requests.get(site.url, timeout=20).ok


# The order of requests


@dataclass(eq=False)
class Asked:
    """A request. done: what happened to it."""

    urgency: Urgency
    client: str
    done: list[str] = field(default_factory=list)

    def service(self) -> None:
        self.done.append("served")

    def cancel(self) -> None:
        self.done.append("cancelled")


def queue_of(threads: int) -> TurnQueue[Asked]:
    return TurnQueue(threads, lambda asked: (asked.urgency, asked.client), lambda asked: asked.done.append("refused"))


def test_photos_never_get_all_threads_and_clients_have_turns() -> None:
    queue = queue_of(8)  # one for health, one more for pages
    for client in "aaaaaaaabb":
        queue.append(Asked(Urgency.PHOTOS, client))
    taken = []
    while queue:
        taken.append(queue.popleft())
    assert [turn.client for turn in taken] == list("ababaa")  # a may have four of the six
    for urgency in (Urgency.PAGE, Urgency.PAGE, Urgency.PAGE, Urgency.HEALTH):
        queue.append(Asked(urgency, "c"))
    assert queue.popleft().urgency is Urgency.HEALTH
    assert [queue.popleft().urgency for _ in range(1)] == [Urgency.PAGE]
    assert not taken[0].task.done
    taken[0].service()
    assert taken[0].task.done == ["served"]
    assert queue.popleft().urgency is Urgency.PAGE


def test_answers_go_before_photos_and_leave_threads_to_pages() -> None:
    queue = queue_of(32)  # two for health, two for pages, two for answers
    for urgency in (Urgency.PHOTOS, Urgency.ANSWER, Urgency.PAGE):
        for _ in range(32):
            queue.append(Asked(urgency, "a"))
    taken = [queue.popleft().urgency for _ in range(30)]
    assert taken == [Urgency.PAGE] * 30
    assert not queue  # the last two are kept for health
    queue = queue_of(32)
    for urgency in (Urgency.PHOTOS, Urgency.ANSWER):
        for client in "ab":
            for _ in range(32):
                queue.append(Asked(urgency, client))
    assert [queue.popleft().urgency for _ in range(28)] == [Urgency.ANSWER] * 28
    assert not queue
    queue = queue_of(32)
    for client in "ab" * 32:
        queue.append(Asked(Urgency.PHOTOS, client))
    assert [queue.popleft().urgency for _ in range(26)] == [Urgency.PHOTOS] * 26
    assert not queue


def test_who_waited_too_long_with_photos_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST_WAIT_SECONDS", -1.0)
    queue = queue_of(4)
    for urgency in (Urgency.PHOTOS, Urgency.PAGE):
        queue.append(Asked(urgency, "a"))
    page, photos = queue.popleft(), queue.popleft()
    page.service()
    photos.service()
    assert (page.task.done, photos.task.done) == (["served"], ["refused", "served"])
    assert not queue
    with pytest.raises(IndexError):
        queue.popleft()


def test_the_answer_of_a_busy_server_says_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST_WAIT_SECONDS", -1.0)
    with running_site(work=False) as site:
        reply = requests.post(site.url, files={"inputFile": ("a.jpg", jpeg())}, timeout=20)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "10")


class SlowStore(MemoryStore):
    """An input bucket that stores nothing until it may."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.may = threading.Event()

    def put(self, key: str, body: bytes, content_type: str) -> None:
        assert self.may.wait(60)
        super().put(key, body, content_type)


def test_photos_that_would_wait_long_for_the_store_are_refused_at_once_and_answers_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "LONGEST_WAIT_SECONDS", 60.0)
    cloud = replace(memory_cloud(SystemClock()), inputs=(store := SlowStore()))
    with running_site(cloud, work=False) as site, ThreadPoolExecutor(8) as clients:

        def submitted(number: int = 0) -> requests.Response:
            files = {"inputFile": (f"{number}.jpg", jpeg())}
            return requests.post(f"{site.url}/v1/batches", files=files, timeout=60)

        batch = requests.post(site.url + "/batches", timeout=20).json()["batch"]
        turns_at_store: StoreTurns = site.server._services.venues.chosen._turns  # type: ignore[attr-defined]
        turns_at_store._at_once = 2
        waiting = [clients.submit(submitted, number) for number in range(6)]
        clients_at_store = turns_at_store._clients
        until(lambda: len(clients_at_store.get("127.0.0.1", ())) == 4)
        monkeypatch.setattr(pool, "LONGEST_WAIT_SECONDS", 0.0)
        by_form = requests.post(site.url, files={"inputFile": ("a.jpg", jpeg())}, timeout=20)
        by_key = requests.post(f"{site.url}/v1/batches", json=[], headers={"Idempotency-Key": "a"}, timeout=20)
        for refused in (submitted(), by_form):  # in the server's loop, and by the app
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert by_key.status_code == 400  # it might have been accepted before, so the app looked at it
        for path in ("/healthz", "/", f"/batches/{batch}.json"):
            assert requests.get(site.url + path, timeout=20).ok
        store.may.set()
        monkeypatch.setattr(pool, "LONGEST_WAIT_SECONDS", 60.0)
        assert [one.result().status_code for one in waiting] == [202] * 6  # who waited already is served
        assert submitted().status_code == 202


def test_clients_have_turns_at_the_store_and_one_that_sends_much_shuts_out_nobody() -> None:
    now, order = [0.0], list[str]()
    turns_at_store = StoreTurns(1, lambda: now[0])
    with ThreadPoolExecutor(8) as threads, ExitStack() as first:
        first.enter_context(turns_at_store.turn("a"))

        def store(client: str) -> None:
            with turns_at_store.turn(client):
                order.append(client)

        for number, client in enumerate("aaab", 1):
            threads.submit(store, client)
            until(lambda n=number: sum(map(len, turns_at_store._clients.values())) == n)  # type: ignore[misc]
        now[0] = 5.0
        assert [turns_at_store.wait_seconds(one) for one in "abc"] == [5.0, 5.0, 0.0]
        first.close()
        until(lambda: len(order) == 4)
    assert order == list("abaa")
    assert turns_at_store.wait_seconds("c") == 0.0  # nobody waits


def test_photos_stand_back_while_answers_take_long_at_the_store() -> None:
    now, go, stored = [0.0], threading.Semaphore(0), list[int]()
    turns_at_store = StoreTurns(8, lambda: now[0])

    def store(number: int) -> None:
        with turns_at_store.turn(str(number)):
            stored.append(number)
            assert go.acquire(timeout=60)

    with ThreadPoolExecutor(24) as threads:
        running = [threads.submit(store, number) for number in range(24)]

        def end(count: int) -> None:
            ended = sum(one.done() for one in running) + count
            go.release(count)
            until(lambda: sum(one.done() for one in running) == ended)

        until(lambda: len(stored) == 8 and len(turns_at_store._clients) == 16)
        with turns_at_store.answer():
            end(2)  # the answer does not take long yet
            until(lambda: len(stored) == 10)
            now[0] = 1.0
            end(4)
            assert len(stored) == 10
            end(2)  # but photos go on
            until(lambda: len(stored) == 12)
        end(1)
        until(lambda: len(stored) == 13)
        assert turns_at_store._held == BESIDE_ANSWERS  # the next answer comes soon
        now[0] += LASTING_SECONDS
        with turns_at_store.answer():
            pass
        until(lambda: len(stored) == 17)
        go.release(24)


def test_an_answer_needs_no_thread_of_those_that_store_photos() -> None:
    cloud = replace(memory_cloud(SystemClock()), inputs=(store := SlowStore()))
    with running_site(cloud, work=False) as site, ThreadPoolExecutor(4) as clients:
        batch = requests.post(site.url + "/batches", timeout=20).json()["batch"]
        site.cloud.outputs.put(f"corrections/{batch}/00099/a.jpg", b"{}", "application/json")

        def sent(first: int) -> requests.Response:
            files = [("inputFile", (f"{number}.jpg", jpeg())) for number in range(10)]
            address = f"{site.url}/batches/{batch}/photos?first={first}"
            return requests.post(address, files=files, timeout=60)

        waiting = [clients.submit(sent, 10 * number) for number in range(4)]
        workers = site.server._services.workers
        until(lambda: len(workers._threads) == STORE_THREADS and workers._work_queue.qsize() > 0)
        assert requests.get(f"{site.url}/batches/{batch}.json", timeout=20).ok
        store.may.set()
        assert all(one.result().ok for one in waiting)


def test_a_new_client_would_wait_as_long_as_the_last_one_that_had_one_photo() -> None:
    now, go = [0.0], threading.Event()
    turns_at_store = StoreTurns(1, lambda: now[0])

    def store(client: str) -> None:
        with turns_at_store.turn(client):
            assert go.wait(60)

    with ThreadPoolExecutor(8) as threads:
        with turns_at_store.turn("a"):
            for number, client in enumerate("bc", 1):
                threads.submit(store, client)
                until(lambda n=number: len(turns_at_store._clients) == n)  # type: ignore[misc]
            now[0] = 4.0
        assert turns_at_store.wait_seconds("new") == 4.0
        now[0] = 9.0
        assert turns_at_store.wait_seconds("new") == 0.0  # that was long ago: c may be all that waits
        go.set()


def test_slow_addresses_of_one_client_leave_threads_to_others() -> None:
    threads, go = FairThreads(4, 3, "test"), threading.Event()
    slow: list[Future[bool]] = [threads.submit("a", go.wait, 60) for _ in range(20)]
    assert threads.submit("b", str, 1).result(20) == "1"
    with pytest.raises(ValueError, match="invalid"):
        threads.submit("b", int, "x").result(20)
    assert slow[19].cancel()
    go.set()
    assert all(one.result(20) for one in slow[:19])
    threads.stop()


# The streams by themselves


@dataclass
class Counted:
    """A stream that says much at once, then waits for ever."""

    text: str
    freed: threading.Event = field(default_factory=threading.Event)

    def run(self, on_news: object) -> Iterator[str | Wait]:
        try:
            yield self.text
            while True:
                yield Wait(3600)
        finally:
            self.freed.set()


@pytest.fixture
def streams() -> Iterator[OpenStreams]:
    ours = OpenStreams(2)
    ours.start()
    yield ours
    ours.stop(0)


def test_a_client_that_takes_nothing_is_dropped(streams: OpenStreams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_streams, "STALLED_SECONDS", 0.2)
    ours, theirs = socket.socketpair()
    source, ended = Counted("x" * 50_000_000), threading.Event()
    assert streams.reserve()
    streams.add(ours, b"head", False, source, ended.set)
    assert ended.wait(20)
    assert source.freed.wait(20)
    assert theirs.recv(4) == b"head"
    theirs.close()
    assert streams.reserve()
    assert streams.reserve()
    assert not streams.reserve()


def test_a_stream_that_breaks_ends_and_no_other_does(streams: OpenStreams) -> None:
    class Broken:
        def run(self, on_news: object) -> Iterator[str | Wait]:
            yield "a"
            raise RuntimeError("on purpose")

    pairs = [socket.socketpair() for _ in range(2)]
    sources: list[EventSource] = [Broken(), Counted("b")]
    for source, (ours, _) in zip(sources, pairs, strict=True):
        assert streams.reserve()
        streams.add(ours, b"", True, source, lambda: None)
    broken, other = (theirs for _, theirs in pairs)
    assert read_until(broken, b"0\r\n\r\n") == b"1\r\na\r\n0\r\n\r\n"
    assert other.recv(100) == b"1\r\nb\r\n"
    streams.stop(0)
    assert other.recv(100) == b""
    broken.close()
    other.close()
