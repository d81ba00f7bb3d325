"""The clients of a torture run: like the page, like programs of all kinds, and like those who vanish in the middle.

Each tries again until it is served, as the page's script and good programs do; the account gets what it was told.
"""

from __future__ import annotations

import base64
import json
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from benchmarks.running.system import RunningSystem
from benchmarks.torture.account import Account, SentPhoto

MOST_PHOTOS = 10
HOSTILE_SHARE = 0.2
SERVED_SECONDS = 180.0  # all parts may be down for a while, and the pool starts from nothing
CALL_SECONDS = 60.0
AGAIN_SECONDS = 0.5
Pause = Callable[[float], bool]


class GaveUp(Exception):
    """A client was not served in time, or the run was broken off."""


class PhotoServer:
    """Serves the photos of clients who send addresses."""

    def __init__(self) -> None:
        self._photos: dict[str, bytes] = {}
        photos = self._photos

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                payload = photos.get(self.path)
                self.send_response(404 if payload is None else 200)
                self.send_header("Content-Length", str(len(payload or b"")))
                self.end_headers()
                self.wfile.write(payload or b"")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            # With Python's 5 a third of 64 connections at once found no place within 5 s on a busy machine: the kernel
            # tries again after 1, 3 and 7 s. Such photos "cannot be reached".
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def offer(self, photo: SentPhoto) -> str:
        """The address of a photo."""
        self._photos[f"/{photo.name}"] = photo.payload
        return f"http://{self.place}/{photo.name}"

    def stop(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()


class Clients:
    """Sends batches in random ways."""

    def __init__(self, system: RunningSystem, account: Account, photos: PhotoServer, pause: Pause) -> None:
        """pause: waits so many seconds; returns True when the run was broken off."""
        self._system = system
        self._address = system.address
        self._account = account
        self._photos = photos
        self._pause = pause

    def alive(self) -> bool:
        """Whether the system has not ended."""
        return self._system.process.poll() is None

    def one(self, choice: random.Random) -> None:
        """One client, of any kind."""
        kinds: Sequence[tuple[Callable[[random.Random], None], int]] = (
            (self.by_page, 4),
            (self.by_program, 3),
            (self.by_api, 2),
            (self.by_address, 2),
            (self.by_upload_forms, 2),
            (self.vanish, 2),
        )
        kind = choice.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        self._account.count(f"clients {kind.__name__.replace('_', ' ')}")
        try:
            kind(choice)
        except GaveUp as error:
            self._account.complain(f"a client {kind.__name__}: {error}")
        except Exception as error:  # a client that breaks is a fault of its own
            self._account.complain(f"a client {kind.__name__} broke: {error!r}")

    def by_page(self, choice: random.Random) -> None:
        """Send groups of photos to a batch, some of them twice; open its page, leave it, look until all is done."""
        batch = self._served(lambda: self._call("POST", "/batches")).json()["batch"]
        sent: dict[str, SentPhoto] = {}
        first = 0
        for _ in range(choice.randint(1, 3)):
            group = self._draw(choice)
            sent |= group
            files = _files(group)
            path = f"/batches/{batch}/photos?first={first}"
            for _ in range(choice.choice((1, 1, 1, 2))):  # an answer was lost: the same once more
                told = self._served(lambda p=path, f=files: self._call("POST", p, files=f)).json()  # type: ignore[misc]
            self._account.accept(batch, told, group)
            first += len(group)
            if choice.random() < 0.5:
                self._look_at_events(batch, choice)
        if choice.random() < 0.1:
            self._account.cancel(batch)
            self._served(lambda: self._call("POST", f"/batches/{batch}/cancel"))
        self._watch(batch, sent)

    def by_program(self, choice: random.Random) -> None:
        """Send one photo and read its label in the answer. An answer that is lost costs a batch that nobody knows."""
        photo = self._account.draw(choice, HOSTILE_SHARE)
        files = _files({photo.name: photo})
        expected = (200,) if photo.label else (200, 400, 413, 415, 422)
        answer = self._served(lambda: self._call("POST", "/", files=files), expected)
        if answer.status_code != 200:
            self._account.count("photos refused")
            return
        batch = answer.headers["Content-Location"].rpartition("/")[2]
        self._account.accept(batch, [{"index": 0, "name": photo.name, "status": "accepted"}], {photo.name: photo})
        if photo.label and answer.text != f"{photo.stem}:{photo.label}":
            self._account.complain(f"{batch}/{photo.name} was answered {answer.text[:80]!r}, and it is {photo.label}")
        self._account.count("photos that were shown their label", bool(photo.label))

    def by_api(self, choice: random.Random) -> None:
        """Send photos as JSON with an idempotency key, until an answer comes."""
        sent = self._draw(choice)
        photos = [{"name": one.name, "data": base64.b64encode(one.payload).decode()} for one in sent.values()]
        self._submit(choice, {"photos": photos}, sent)

    def by_address(self, choice: random.Random) -> None:
        """Send the addresses of photos."""
        sent = self._draw(choice)
        self._submit(choice, {"photos": [{"url": self._photos.offer(one)} for one in sent.values()]}, sent)

    def by_upload_forms(self, choice: random.Random) -> None:
        """Send photos straight to the bucket, then confirm them; now and then never confirm."""
        sent = self._draw(choice)
        names = [{"index": index, "name": name} for index, name in enumerate(sent)]
        offered = self._served(lambda: self._call("POST", "/v1/uploads", json={"photos": names}), (201, 403, 409, 501))
        if offered.status_code != 201:
            self._account.count("upload forms not offered")
            return
        told = offered.json()
        for upload in told["uploads"]:
            self._put(upload, sent[upload["name"]].payload)
        if choice.random() < 0.1:
            self._account.count("uploads never confirmed")
            return
        path = f"/v1/batches/{told['batch']}/photos/confirm"
        arrived = self._served(lambda: self._call("POST", path, json={"photos": names})).json()["photos"]
        if any(one["status"] == "missing" for one in arrived):
            self._account.complain(f"{told['batch']}: an upload was answered and is missing: {arrived}")
        self._account.accept(told["batch"], arrived, sent)
        self._watch(told["batch"], sent)

    def vanish(self, choice: random.Random) -> None:
        """Send a part of a request, or all of it, and go without reading the answer."""
        sent = self._draw(choice)
        request = requests.Request("POST", f"{self._address}/", files=_files(sent)).prepare()
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        body = request.body if isinstance(request.body, bytes) else b""
        whole = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode() + body
        part = whole if choice.random() < 0.3 else whole[: choice.randrange(len(whole))]
        try:
            with socket.create_connection(("127.0.0.1", self._system.port), 5) as connection:
                connection.settimeout(5)
                connection.sendall(part)
                self._pause(choice.uniform(0, 1.0))
        except OSError:
            pass

    def _submit(self, choice: random.Random, body: Mapping[str, Any], sent: dict[str, SentPhoto]) -> None:
        headers = {"Idempotency-Key": str(uuid.UUID(int=choice.getrandbits(128)))}
        call = lambda: self._call("POST", "/v1/batches", json=body, headers=headers)  # noqa: E731
        told = self._served(call).json()
        batch = told["batch"]
        self._account.accept(batch, told["photos"], sent)
        if choice.random() < 0.3:
            again = self._served(call).json()["batch"]
            if again != batch:
                self._account.complain(f"one idempotency key made two batches, {batch} and {again}")
        self._watch(batch, sent)

    def _put(self, upload: Mapping[str, Any], payload: bytes) -> None:
        fields = {**upload["fields"], "Content-Type": "image/jpeg"}
        files = {"file": (upload["name"], payload)}
        self._served(lambda: requests.post(upload["url"], data=fields, files=files, timeout=CALL_SECONDS))

    def _watch(self, batch: str, sent: Mapping[str, SentPhoto]) -> None:
        """Look until each photo has its answer."""
        deadline = time.monotonic() + SERVED_SECONDS
        while True:
            told = self._served(lambda: self._call("GET", f"/batches/{batch}.json")).json()
            self._account.check_shown(batch, told["photos"], sent)
            if not told["queued"] and len(told["photos"]) >= len(sent):
                break
            if time.monotonic() > deadline:
                states = {one["name"]: one["state"] for one in told["photos"]}
                raise GaveUp(f"batch {batch} is not done: {states}")
            self._rest()
        done = sum(one["state"] == "done" and bool(sent[one["name"]].label) for one in told["photos"])
        self._account.count("photos that were shown their label", done)

    def _look_at_events(self, batch: str, choice: random.Random) -> None:
        """Open the stream of a page and leave it."""
        try:
            path = f"{self._address}/batches/{batch}/events"
            with requests.get(path, stream=True, timeout=choice.uniform(0.2, 2.0)) as stream:
                next(stream.iter_content(100), b"")
        except requests.RequestException:
            pass

    def _draw(self, choice: random.Random) -> dict[str, SentPhoto]:
        drawn = [self._account.draw(choice, HOSTILE_SHARE) for _ in range(choice.randint(1, MOST_PHOTOS))]
        return {one.name: one for one in drawn}

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self._address + path, timeout=CALL_SECONDS, **options)

    def _served(
        self, call: Callable[[], requests.Response], expected: Sequence[int] = (200, 201, 202, 204)
    ) -> requests.Response:
        """The first answer with an expected status. Others are tried again, if they say that it may help."""
        deadline = time.monotonic() + SERVED_SECONDS
        last: object = None
        while time.monotonic() < deadline:
            try:
                answer = call()
                if answer.status_code in expected:
                    return answer
                last = f"{answer.status_code} {answer.text[:200]}"
                self._account.count(f"answers {answer.status_code}, tried again")
                if 400 <= answer.status_code < 500 and answer.status_code not in (408, 429, 499):
                    raise GaveUp(f"was refused: {last}")
            except (requests.RequestException, json.JSONDecodeError) as error:
                last = error
                self._account.count("connections lost, tried again")
            self._rest()
        raise GaveUp(f"was not served in {SERVED_SECONDS:.0f} s: {last}")

    def _rest(self) -> None:
        if self._pause(AGAIN_SECONDS) or self._system.process.poll() is not None:
            raise GaveUp("the run was broken off, or the system has ended")


def _files(photos: Mapping[str, SentPhoto]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("inputFile", (one.name, one.payload)) for one in photos.values()]


def send_all(clients: Clients, choice: random.Random, seconds: float, at_once: int, over: threading.Event) -> None:
    """Let clients come at random times, at most `at_once` together; now and then none, so that the pool shrinks.

    over: breaks the run off; set when this call is interrupted, so that no client is waited for.
    """
    ends = time.monotonic() + seconds
    free = threading.Semaphore(at_once)
    with ThreadPoolExecutor(at_once) as threads:
        try:
            while time.monotonic() < ends and clients.alive():
                free.acquire()
                sent = threads.submit(clients.one, random.Random(choice.getrandbits(64)))
                sent.add_done_callback(lambda _: free.release())
                if over.wait(8.0 if choice.random() < 0.03 else choice.expovariate(2.0)):
                    break
        except BaseException:  # a signal, too
            over.set()
            raise
