"""A slow thumbnail keeps neither pages nor other thumbnails waiting for long."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from inference import images
from tests.waiting import until
from tests.web_fixtures import jpeg, running_site
from web_tier import thumbnail_gate
from web_tier.thumbnail_gate import Busy, ThumbnailGate


def test_nobody_stands_behind_slow_thumbnails(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, go = threading.Semaphore(0), threading.Event()

    def decode(_payload: bytes, _pixels: int, _max_pixels: int) -> bytes:
        slow.release()
        assert go.wait(30)
        return b"small"

    monkeypatch.setattr(thumbnail_gate, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(images, "thumbnail", decode)
    with running_site(work=False) as site, ThreadPoolExecutor(64) as threads:
        files = {"inputFile": ("a.jpg", jpeg())}
        address = requests.post(site.url, files=files, headers={"Accept": "text/html"}, timeout=10).url
        photo = f"{address}/photos/0/thumbnail"
        made = [threads.submit(requests.get, photo, timeout=60) for _ in range(thumbnail_gate.AT_ONCE)]
        for _ in made:
            assert slow.acquire(timeout=10)
        others = [threads.submit(requests.get, photo, timeout=60) for _ in range(40)]

        assert requests.get(site.url, timeout=10).ok
        for other in others:
            reply = other.result(timeout=20)
            assert (reply.status_code, reply.headers["Content-Type"]) == (503, "image/svg+xml")
            assert int(reply.headers["Retry-After"]) > 0
        assert not any(one.done() for one in made)

        go.set()
        assert [one.result().content for one in made] == [b"small"] * len(made)
        until(lambda: requests.get(photo, timeout=10).status_code == 200)


def test_few_requests_are_in_hand() -> None:
    gate = ThumbnailGate(web_threads=8)

    with gate.admitted(), gate.admitted(), pytest.raises(Busy), gate.admitted():
        pass
    with gate.admitted(), gate.admitted():
        pass
