"""The venue `local` answers plain requests without a thread of the server: the same answers as the app's."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests import inference_fixtures
from tests.waiting import until
from tests.web_fixtures import Site, running_site

CAT = (inference_fixtures.EXAMPLES / "cat.jpg").read_bytes()
OF_THE_APP = {"X-Request-Id": "7"}  # any header that is not known makes a request the app's
OWN = {"batch", "seconds", "total_seconds"}  # of each answer


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site(
        work=False, venue="local", cache_dir=inference_fixtures.cache_dir(), precision="float32"
    ) as running:
        yield running


def ask(site: Site, photo: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], dict[str, Any]]:
    told = requests.post(f"{site.url}/v1/label", data=photo, headers=headers, timeout=30)
    heads = {name: value for name, value in told.headers.items() if name not in ("Date", "Content-Length")}
    return told.status_code, heads, {name: value for name, value in told.json().items() if name not in OWN}


@pytest.mark.parametrize(("photo", "status"), [(CAT, 200), (b"no photo", 422)])
def test_a_plain_request_is_answered_as_the_app_answers_it_and_without_the_app(
    site: Site, monkeypatch: pytest.MonkeyPatch, photo: bytes, status: int
) -> None:
    by_the_app = ask(site, photo, OF_THE_APP)
    assert by_the_app[0] == status
    monkeypatch.setattr(site.server._server, "application", None)
    told = requests.post(f"{site.url}/v1/label", data=photo, timeout=30)
    assert int(told.headers["Content-Length"]) == len(told.content)
    assert ask(site, photo, {}) == by_the_app
    batch = told.json()["batch"]
    until(lambda: list(site.cloud.outputs.list(f"{batch}/")), seconds=5.0)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "attacker.example"}, 421),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "application/json"}, 415),
        ({"Content-Encoding": "br"}, 415),
    ],
)
def test_what_the_app_refuses_is_refused(site: Site, headers: dict[str, str], status: int) -> None:
    assert requests.post(f"{site.url}/v1/label", data=CAT, headers=headers, timeout=30).status_code == status


def test_answers_keep_the_order_of_a_connections_requests(site: Site) -> None:
    head = b"POST /v1/label HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(CAT)
    page = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
        connection.sendall(head + CAT + page + head + CAT)
        file = connection.makefile("rb")
        kinds = [_read_one(file) for _ in range(3)]
    assert [("labels" in body, status) for status, body in kinds] == [(True, 200), (False, 200), (True, 200)]


def _read_one(file: Any) -> tuple[int, str]:
    status = int(file.readline().split()[1])
    headers = http.client.parse_headers(file)
    body: bytes = file.read(int(headers["Content-Length"]))
    return status, body.decode()


def test_who_does_not_sign_in_where_people_do_is_refused() -> None:
    usual: dict[str, Any] = {"venue": "local", "cache_dir": inference_fixtures.cache_dir(), "precision": "float32"}
    with running_site(work=False, sign_in="on", **usual) as site:
        assert requests.post(f"{site.url}/v1/label", data=CAT, timeout=30).status_code == 401
