"""Who may use the page: requests of other sites, names that are not ours, guesses and sessions of the operator."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from shoal.clock import SystemClock
from shoal.memory import ManualClock, memory_cloud
from tests.web_fixtures import Site, jpeg, running_site, settings
from web_tier.access.connections import ConnectionLimit
from web_tier.access.guesses import FREE, LONGEST_SECONDS, MOST_ADDRESSES, MOST_NAMES, Guesses
from web_tier.access.origin import answers_to
from web_tier.access.rights import Right, needed, needs
from web_tier.access.sessions import LASTS_SECONDS, Sessions, SignedSession
from web_tier.app import create_app
from web_tier.early_refusal import client_of
from web_tier.problems import Problem
from web_tier.venues import Asker, Submission

SECRET = "sixteen or more letters"
PHOTO: dict[str, Any] = {"files": {"inputFile": ("a.jpg", jpeg(), "image/jpeg")}}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site(operator_secret=SECRET) as running:
        yield running


def ask(site: Site, method: str, path: str, **headers: str) -> requests.Response:
    return requests.request(method, site.url + path, headers=headers, timeout=20, allow_redirects=False)


WHO_MAY_USE = """
nothing: health.healthz health.readyz static v1.description v1.try_it
nothing: fleet.sign_in_page fleet.sign_in fleet.sign_out sign_in.sign_in_page sign_in.sign_in
nothing: sign_in.go_to_provider sign_in.come_back device.worker device.browser_file privacy.privacy_page
signed in: sign_in.sign_out pages.expected v1.models compare.venues_json
read: pages.batch_page pages.status pages.batch_csv pages.more api.batch_json api.thumbnail api.picture events.events
read: v1.batch_state v1.results v1.photo sharing.own_batches_page sharing.own_batches
label: pages.upload_page pages.upload pages.correct pages.cancel pages.retry api.new api.add_photos uploads.forms
label: sharing.share sharing.unshare pages.delete v1.delete v1.retry
label: device.device_page
label: uploads.confirm v1.submit v1.label v1.cancel contracts.recognise contracts.detect_objects contracts.detect_many
read: v1_runs.listed v1_runs.state v1_runs.results runs.runs_page runs.run_page runs.labels runs.thumbnail
label: v1_runs.begin v1_runs.expected v1_runs.pause v1_runs.resume v1_runs.cancel v1_runs.retry_failed
label: runs.begin runs.pause runs.resume runs.cancel runs.retry_failed
operate: fleet.fleet_page fleet.fleet_json fleet.change_setting
operate: dead_letters.dead_letters_page dead_letters.redrive dead_letters.delete
operate: compare.short_address compare.compare_page compare.begin compare.stop compare.compare_json compare.compare_csv
"""


def test_each_route_says_who_may_use_it() -> None:
    app = create_app(settings(sign_in="on"), memory_cloud(SystemClock()), SystemClock())
    said = {name: Right(right) for right, names in _table() for name in names.split()}
    assert {rule.endpoint: needed(app, rule.endpoint) for rule in app.url_map.iter_rules()} == said


def _table() -> Iterator[tuple[str, str]]:
    for line in WHO_MAY_USE.strip().splitlines():
        right, _, names = line.partition(": ")
        yield right, names


def test_a_view_that_does_not_say_it_is_found() -> None:
    app = create_app(settings(sign_in="on"), memory_cloud(SystemClock()), SystemClock())
    app.view_functions["new"] = lambda: ""
    with pytest.raises(LookupError, match="the view new does not say"):
        needed(app, "new")
    app.view_functions["new"] = needs(Right.READ)(lambda: "")
    assert needed(app, "new") is Right.READ


@pytest.mark.parametrize(
    ("host", "right"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LOCALHOST.:80", True),
        ("shoal.localhost:8000", True),
        ("192.168.1.7:8000", True),
        ("[::1]:8000", True),
        ("web", True),
        ("photos.example.com", True),
        ("Photos.Example.com:443", True),
        ("evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("localhost.evil.example:8000", False),
        ("photos.example.com.evil.example", False),
        ("evil.example#localhost", False),
        ("user@localhost", False),
        ("localhost/evil.example", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_names_that_it_answers_to(host: str, right: bool) -> None:
    assert answers_to(host, frozenset({"photos.example.com"})) is right


@given(st.text())
def test_any_host_is_judged(host: str) -> None:
    answers_to(host, frozenset())


def test_under_another_name_it_answers_nothing_but_its_health(site: Site) -> None:
    for path in ("/", "/fleet", "/v1/models", "/static/style.css"):
        reply = ask(site, "GET", path, Host="evil.example:80")
        assert reply.status_code == 421, path
        assert "SHOAL_ALLOWED_HOSTS=evil.example" in reply.text
    assert ask(site, "GET", "/healthz", Host="evil.example").status_code == 200
    with running_site(work=False, allowed_hosts="photos.example.com") as named:
        assert ask(named, "GET", "/", Host="photos.example.com").ok


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Referer": "http://evil.example/page"},
    ],
)
def test_what_a_page_of_another_site_sends_changes_nothing(headers: dict[str, str], site: Site) -> None:
    before = len(list(site.cloud.inputs.list("")))
    for path in ("/", "/v1/batches", "/batches", "/object-detection", "/api/detect", "/fleet/sign-in"):
        reply = requests.post(site.url + path, headers=headers, timeout=20, **PHOTO)
        assert reply.status_code == 403, path
        assert "Set-Cookie" not in reply.headers
    for path in ("/cloudimagerecognition.php?input=http://127.0.0.1/a.jpg", "/api/detect"):
        assert ask(site, "GET", path, **headers).status_code == 403, path
    assert len(list(site.cloud.inputs.list(""))) == before
    assert ask(site, "GET", "/", **headers).ok  # a link may lead here


def test_behind_a_trusted_proxy_its_name_counts() -> None:
    asked = {"Host": "127.0.0.1:1", "X-Forwarded-Host": "photos.example.com", "Origin": "https://photos.example.com"}
    named: dict[str, Any] = {"work": False, "allowed_hosts": "photos.example.com"}
    for proxy, status in (("127.0.0.1", 202), ("", 403)):
        with running_site(trusted_proxy=proxy, **named) as site:
            assert requests.post(f"{site.url}/v1/batches", headers=asked, timeout=20, **PHOTO).status_code == status


@pytest.mark.parametrize(
    ("forwarded", "proxies", "client"),
    [
        ("1.1.1.1", 1, "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", 1, "1.1.1.1"),  # the client itself wrote the first
        ("1.1.1.1, 10.0.0.9", 2, "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1, 10.0.0.9", 2, "1.1.1.1"),
        ("1.1.1.1", 2, "1.1.1.1"),  # a request that passed one of them only
        ("", 2, "127.0.0.1"),
    ],
)
def test_behind_several_proxies_the_client_is_who_the_first_of_them_saw(
    forwarded: str, proxies: int, client: str
) -> None:
    assert client_of("127.0.0.1", forwarded, "127.0.0.1", proxies) == client
    assert client_of("127.0.0.1", forwarded, "10.0.0.9", proxies) == "127.0.0.1"  # nobody vouches for it
    if forwarded:
        with running_site(work=False, trusted_proxy="127.0.0.1", trusted_proxies=proxies) as site:
            seen: list[str] = []

            def note(asker: Asker) -> Submission:
                seen.append(asker.address)
                raise Problem(503, "noted")

            site.server._services.venues.chosen.open = note  # type: ignore[method-assign, assignment]
            requests.post(f"{site.url}/v1/batches", headers={"X-Forwarded-For": forwarded}, timeout=20, **PHOTO)
        assert seen == [client]


def test_one_client_cannot_take_all_connections() -> None:
    with ExitStack() as held, running_site(work=False, connections_per_address=20) as site:
        for _ in range(100):  # half-open: they never send a request
            client = held.enter_context(
                socket.create_connection(("127.0.0.1", site.port), source_address=("127.0.0.2", 0))
            )
            client.settimeout(10)
        assert client.recv(1) == b""  # closed at once
        assert requests.get(site.url, timeout=10).ok  # from 127.0.0.1


@pytest.mark.parametrize(
    ("address", "proxy", "right"),
    [
        ("10.0.0.1", "", False),
        ("10.0.0.2", "", True),
        ("2001:db8::9", "", False),
        ("2001:db8:1::1", "", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "*", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_whose_connections_are_counted_together(address: str, proxy: str, right: bool) -> None:
    limit = ConnectionLimit(3, proxy)
    for opened in ["10.0.0.1"] * 3 + ["2001:db8::1", "2001:db8::2", "2001:db8::3", "10.0.0.2"]:
        assert limit.opened(opened)
    assert limit.opened(address) is right
    limit.closed(address)
    assert limit.opened(address)


def test_our_own_page_and_programs_may_send(site: Site) -> None:
    for headers in (
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": site.url},
        {"Origin": site.url.replace("http:", "https:")},  # a proxy speaks HTTPS for us
        {"Referer": f"{site.url}/batches/x"},
    ):
        assert requests.post(f"{site.url}/v1/batches", headers=headers, timeout=20, **PHOTO).ok


_ATTACK = b"""<!doctype html><title>evil</title><form method="post" enctype="text/plain"><input name="a"></form><script>
const target = new URLSearchParams(location.search).get("target");
const form = document.forms[0];
async function attack() {
  const photo = new FormData();
  photo.append("inputFile", new File([new Uint8Array(10)], "a.jpg"));
  const tries = [["/v1/batches", photo], ["/", photo], ["/batches", "x"], ["/fleet/sign-in", "secret=x"]];
  for (const [path, body] of tries)
    try { await fetch(target + path, {method: "POST", mode: "no-cors", credentials: "include", body}); } catch {}
  await new Promise(done => { const picture = new Image(); picture.onload = picture.onerror = done;
    picture.src = target + "/cloudimagerecognition.php?input=http://127.0.0.1/a.jpg"; });
  try { return await (await fetch(target + "/fleet.json")).text(); } catch { return "nothing"; }
}
attack().then(read => { document.title = "read " + read; });
</script>"""


def test_a_real_browser_on_another_site_reads_nothing_and_changes_nothing(site: Site, browser: Browser) -> None:
    class Evil(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(_ATTACK)

        def log_message(self, *_: object) -> None:
            pass

    evil = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    Thread(target=evil.serve_forever, daemon=True).start()
    before = len(list(site.cloud.inputs.list("")))
    try:
        page = browser.new_page()
        page.goto(f"http://localhost:{evil.server_port}/?target={site.url}")
        page.wait_for_function("document.title.startsWith('read')")
        assert page.title() == "read nothing"
        page.close()
    finally:
        evil.shutdown()
        evil.server_close()
    assert len(list(site.cloud.inputs.list(""))) == before


def test_a_guess_doubles_the_pause_of_its_network_alone() -> None:
    clock = ManualClock(1e9)
    guesses = Guesses(clock)

    def pause(address: str, found: bool | None = None) -> int | None:
        """Guess; returns how many seconds the address has to wait instead."""
        try:
            assert guesses.guess(address, lambda: found) is found
        except Problem as problem:
            return problem.retry_after
        return 0

    assert [pause("2001:db8::1") for _ in range(FREE)] == [0] * FREE
    pauses = []
    for _ in range(10):
        pauses.append(pause("2001:db8::ffff:2") or 0)  # the same network
        clock.wait(pauses[-1])
        assert pause("2001:db8::1") == 0
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST_SECONDS]
    assert pause("2001:db8:0:1::1") == pause("127.0.0.1") == pause("") == 0
    clock.wait(LONGEST_SECONDS)
    assert [pause("2001:db8::3", found=True), *(pause("2001:db8::1") for _ in range(FREE))] == [0] * (FREE + 1)
    for number in range(2 * MOST_ADDRESSES):
        pause(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(guesses._wrong) == MOST_ADDRESSES


def test_who_has_a_password_cannot_guess_those_of_others_for_longer() -> None:
    clock = ManualClock(1e9)
    guesses = Guesses(clock)
    for number in range(FREE):
        guesses.guess("10.0.0.1", lambda: None, "bob")
        if number < FREE - 1:
            assert guesses.guess("10.0.0.1", lambda: "a session", "alice")
    with pytest.raises(Problem):
        guesses.guess("10.0.0.1", lambda: "a session", "alice")
    clock.wait(1)
    assert guesses.guess("10.0.0.1", lambda: "a session", " Bob")  # now all wrong guesses are forgiven
    for number in range(2 * MOST_NAMES):
        guesses.guess("10.0.0.1", lambda: None, f"user-{number}")
        clock.wait(LONGEST_SECONDS)
    assert len(guesses._wrong["10.0.0.1"][0]) <= MOST_NAMES + 1


def test_a_session_ends_with_time_sign_out_or_a_new_secret() -> None:
    cloud, clock = memory_cloud(SystemClock()), ManualClock(1e9)
    sessions = Sessions(cloud.outputs, clock, lambda _: SECRET)
    first, second = sessions.start({}), sessions.start({})
    assert sessions.find(first.token) == first
    assert first.form_token != second.form_token
    sessions.tell(first, "done")
    assert (sessions.told(first), sessions.told(first), sessions.told(second)) == (["done"], [], [])
    assert Sessions(cloud.outputs, clock, lambda _: f"{SECRET}!").find(first.token) is None
    assert Sessions(cloud.outputs, clock, lambda _: "").find(first.token) is None
    sessions.end(first)
    sessions.tell(first, "a request that began before")
    assert sessions.find(first.token) is None
    assert sessions.find(second.token) is not None
    Sessions(cloud.outputs, clock, lambda _: f"{SECRET}!").tell(second, "after a new secret")
    assert Sessions(cloud.outputs, clock, lambda _: f"{SECRET}!").find(second.token) is None
    clock.wait(LASTS_SECONDS - 1)
    sessions.tell(second, "it does not last longer")
    clock.wait(1)
    assert sessions.find(second.token) is None


@pytest.mark.parametrize("token", ["", "x", "../k", "\udcff"])
def test_a_token_that_nobody_gave_is_no_session(token: str) -> None:
    assert Sessions(memory_cloud(SystemClock()).outputs, SystemClock(), lambda _: SECRET).find(token) is None


def test_the_bucket_does_not_tell_how_to_sign_in() -> None:
    cloud = memory_cloud(SystemClock())
    session = Sessions(cloud.outputs, SystemClock(), lambda _: SECRET).start({})
    [record] = cloud.outputs.list("sessions/")
    kept = cloud.outputs.get(record.key).decode()
    assert session.token not in record.key + kept
    assert SECRET not in kept
    assert SignedSession("x").form_token not in kept
