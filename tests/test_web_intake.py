"""What comes in: forms of every kind, odd names, bad images, and what is stored and queued of them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as some

from controller.sweeper import Sweeper
from shoal.buckets.pending_photos import ABANDONED_SECONDS
from shoal.clock import SystemClock
from shoal.errors import Retryable
from shoal.memory import ManualClock, MemoryQueue, memory_cloud
from shoal.messages import Job, Result
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site, settings
from web_tier.app import create_app
from web_tier.intake.accept_photos import HELD
from web_tier.intake.multipart import read_parts
from web_tier.intake.offers import Form
from web_tier.problems import Problem
from web_tier.services import EXTENSION, Services
from web_tier.venues._outbox import Outbox

BATCH = "1m7yv8wnwyewm4djehxe"
FORM = "multipart/form-data; boundary=xyz"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def idle() -> Services:
    """The services of an app that nobody serves."""
    clock = ManualClock()
    services: Services = create_app(settings(), memory_cloud(clock), clock).extensions[EXTENSION]
    return services


def part(name: str, payload: bytes, field: str = "inputFile") -> bytes:
    """One file of a form, its name as a browser writes it."""
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'--xyz\r\nContent-Disposition: form-data; name="{field}"; filename="{quoted}"\r\n\r\n'
    return head.encode() + payload + b"\r\n"


def form(body: bytes) -> Form:
    return Form(io.BytesIO(body), FORM, settings().max_file_bytes)


def send(site: Site, body: bytes, accept: str = "*/*") -> requests.Response:
    headers = {"Content-Type": FORM, "Accept": accept}
    return requests.post(site.url, data=body, headers=headers, timeout=30, allow_redirects=False)


def test_the_reply_is_the_name_without_extension_and_the_label(site: Site) -> None:
    for field in ("inputFile", "myfile"):
        reply = requests.post(site.url, files={field: ("test_0.JPG", jpeg())}, timeout=30)
        assert (reply.status_code, reply.text) == (200, "test_0:hair_spray")
        assert reply.headers["Content-Type"].startswith("text/plain")


def test_one_object_an_image_in_each_bucket(site: Site) -> None:
    reply = requests.post(site.url, files={"inputFile": ("test_0.JPG", jpeg())}, timeout=30)
    batch = reply.headers["Content-Location"].rpartition("/")[2]
    key = f"{batch}/00000/test_0.JPG"
    assert [one.key for one in site.cloud.inputs.list(batch)] == [key]
    assert [one.key for one in site.cloud.outputs.list(batch)] == [key]
    assert site.cloud.inputs.get(key) == jpeg()
    assert Result.from_json(site.cloud.outputs.get(key)).label == "hair_spray"


def test_several_photos_are_answered_line_by_line_in_their_order(site: Site) -> None:
    files = [("inputFile", (f"test_0{letter}.JPG", jpeg())) for letter in "cabd"]
    reply = requests.post(site.url, files=files, timeout=30)
    assert reply.text == "".join(f"test_0{letter}:hair_spray\n" for letter in "cabd")


def test_a_bad_image_alone_is_a_422_that_says_why(site: Site) -> None:
    reply = requests.post(site.url, files={"inputFile": ("bad.jpg", b"not a photo")}, timeout=30)
    assert reply.status_code == 422
    assert reply.text.startswith("bad.jpg: this is not an image")


def test_a_photo_that_the_worker_refuses_is_a_422_too(site: Site) -> None:
    reply = requests.post(site.url, files={"inputFile": ("fail.jpg", jpeg())}, timeout=30)
    assert (reply.status_code, reply.text) == (422, "fail.jpg: the picture is cut off")


def test_a_bad_image_does_not_stop_the_others(site: Site) -> None:
    files = [("inputFile", ("bad.jpg", b"")), ("inputFile", ("test_0.JPG", jpeg()))]
    reply = requests.post(site.url, files=files, timeout=30)
    assert reply.status_code == 200
    first, second = reply.text.splitlines()
    assert first == "bad.jpg: the file is empty"
    assert second == "test_0:hair_spray"
    found = requests.get(f"{site.url}{reply.headers['Content-Location']}.json", timeout=10).json()
    assert (found["total"], found["done"], found["failed"], found["queued"]) == (2, 1, 1, 0)


def test_a_file_that_is_too_large_is_read_to_its_end_and_not_kept() -> None:
    with running_site(max_file_bytes=50_000) as site:
        body = part("big.jpg", b"x" * 3_000_000) + part("test_0.JPG", jpeg()) + b"--xyz--\r\n"
        reply = send(site, body)
        assert reply.text.splitlines() == [
            "big.jpg: the file has 2.9 MB; at most 49 KB are taken",
            "test_0:hair_spray",
        ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"--xyz--\r\n", "no photo in this request"),
        (part("a.jpg", b"x", "photo") + b"--xyz--\r\n", "It has: photo."),
        (b'--xyz\r\nContent-Disposition: form-data; name="inputFile"\r\n\r\nhi\r\n--xyz--\r\n', "no photo in this"),
        (part("", b"") + b"--xyz--\r\n", "No photo was chosen"),
        (b"", "cut off or malformed"),
        (b"nonsense", "cut off or malformed"),
        (part("a.jpg", b"x"), "cut off or malformed"),
        (b"--xyz\r\nContent-Type: image/jpeg\r\n\r\nx\r\n--xyz--\r\n", "cut off or malformed"),
        (b"--xyz\r\n" + b"X: y\r\n" * 100_000 + b"\r\nx\r\n--xyz--\r\n", "cut off or malformed"),
    ],
)
def test_a_form_without_photos_is_a_clear_400(site: Site, body: bytes, words: str) -> None:
    reply = send(site, body)
    assert reply.status_code == 400
    assert words in reply.text
    page = send(site, body, accept="text/html")
    assert page.status_code == 400
    assert 'role="alert"' in page.text
    assert words in page.text


def test_a_body_that_is_no_form_at_all_says_what_to_send(site: Site) -> None:
    for content_type in ("application/json", "multipart/form-data", ""):
        reply = requests.post(site.url, data=b"{}", headers={"Content-Type": content_type}, timeout=10)
        assert reply.status_code == 400
        assert "inputFile" in reply.text


def test_a_plain_form_leads_to_the_page_of_its_batch(site: Site) -> None:
    reply = send(site, part("test_0.JPG", jpeg()) + b"--xyz--\r\n", accept="text/html,*/*;q=0.8")
    assert reply.status_code == 303
    assert reply.headers["Location"].startswith("/batches/")


NAMES = [
    "../../etc/passwd",
    "C:\\\\photos\\\\test_0.JPG",  # as curl writes a backslash
    "🐟 fish.jpg",
    'a "quoted" name.jpg',
    "x" * 300 + ".jpg",
    "<script>alert(1)</script>.jpg",
    "same.jpg",
    "same.jpg",
    "..",
    "   ",
    "line\nbreak.jpg",
    "semi;colon=.jpg",
    "über straße.jpg",
    "no_extension",
    "%2e%2e%2f.jpg",
    "{{ 7*7 }}.jpg",
]


ENCODED_NAMES = [
    (b'filename="Mu\xf1oz.jpg"', "Muñoz.jpg"),
    (b'filename="k\xe4tzchen.jpg"', "kätzchen.jpg"),
    ('filename="小猫照片.jpg"'.encode("gbk"), "小猫照片.jpg"),
    ('filename="猫の写真.jpg"'.encode("cp932"), "猫の写真.jpg"),
    ('filename="кошка.jpg"'.encode("cp1251"), "кошка.jpg"),
    ("filename=猫.jpg".encode(), "猫.jpg"),
    ("filename=my 猫 1.jpg".encode(), "my 猫 1.jpg"),
    (b"filename=\"x.jpg\"; filename*=UTF-8''%e7%8c%ab.jpg", "猫.jpg"),
    (b"filename*=ISO-8859-1'en'k%E4tzchen.jpg", "kätzchen.jpg"),
    (b"filename*=no-such-charset''k%E4tzchen.jpg", "kätzchen.jpg"),
    (b"filename*0*=UTF-8''%e7%8c; filename*1*=%ab; filename*2=\".jpg\"", "猫.jpg"),
    (b'filename="=?UTF-8?B?54yrLmpwZw==?="', "猫.jpg"),
    (b'filename="=?no-such-charset?B?54yr?="', "=?no-such-charset?B?54yr?="),
    (b'filename="%E7%8C%AB.jpg"', "猫.jpg"),
    (b'filename="100%25 %20.jpg"', "100%25 %20.jpg"),
    (b'filename="C:\\photos\\new\\test_0.JPG"', "test_0.JPG"),
    (b'filename="\\\\nas\\photos\\test_0.JPG"', "test_0.JPG"),
    (b'filename="a\x00b.jpg"', "a_b.jpg"),
    (b'filename="  a.jpg  "', "a.jpg"),
    (b'filename="\xff"', "ÿ"),
    (b"filename*" + b"9" * 5_000 + b"=x; filename=y", "unnamed"),
]


def test_a_file_name_in_any_encoding_costs_nobody_a_photo(site: Site) -> None:
    disposition = b'--xyz\r\ncontent-disposition : form-data; name="inputFile"; '
    parts = [disposition + name + b"\r\n\r\n" + jpeg() + b"\r\n" for name, _ in ENCODED_NAMES]
    reply = send(site, b"".join(parts) + b"--xyz--\r\n")
    assert reply.status_code == 200
    photos = requests.get(f"{site.url}{reply.headers['Content-Location']}.json", timeout=10).json()["photos"]
    assert [photo["name"] for photo in photos] == [name for _, name in ENCODED_NAMES]
    assert {photo["state"] for photo in photos} == {"done"}


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=----=_Part_5_1833.1714550000", b"----=_Part_5_1833.1714550000"),
        ("multipart/form-data; boundary=a:b/c=d?e", b"a:b/c=d?e"),
        ('multipart/form-data; charset=utf-8; boundary="a b"', b"a b"),
        ("Multipart/Form-Data; Boundary=abc123", b"abc123"),
        ("MULTIPART/FORM-DATA;BOUNDARY=abc123;", b"abc123"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/batches"])
def test_content_types_as_clients_send_them(site: Site, path: str, content_type: str, boundary: bytes) -> None:
    body = (part("test_0.jpg", jpeg()) + b"--xyz--\r\n").replace(b"--xyz", b"--" + boundary)
    headers = {"Content-Type": content_type, "Prefer": "wait=20"}
    reply = requests.post(site.url + path, data=body, headers=headers, timeout=30)
    assert reply.status_code == 200
    assert "hair_spray" in reply.text


@pytest.mark.parametrize("path", ["/", "/v1/batches"])
@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_a_form_without_its_boundary_is_told_that_word(site: Site, path: str, content_type: str) -> None:
    reply = requests.post(site.url + path, data=b"x", headers={"Content-Type": content_type}, timeout=30)
    assert (reply.status_code, "has no boundary" in reply.text) == (400, True)


def test_a_part_in_base64_is_decoded(site: Site) -> None:
    lines = base64.encodebytes(jpeg()).replace(b"\n", b"\r\n")
    body = b"".join(
        part(name, data) for name, data in (("test_0.jpg", lines), ("b.jpg", b"@@@@"), ("c.jpg", lines[:-5]))
    )
    encoded = body.replace(b'"\r\n\r\n', b'"\r\nContent-Transfer-Encoding: BASE64\r\n\r\n')
    wrong = "the data is not valid base64"
    assert send(site, encoded + b"--xyz--\r\n").text == f"test_0:hair_spray\nb.jpg: {wrong}\nc.jpg: {wrong}\n"


def test_a_body_of_another_type_or_coding_is_told_what_to_send(site: Site) -> None:
    for path, kinds in (("/", "multipart/form-data"), ("/v1/batches", "multipart/form-data or application/json")):
        headers = {"Content-Type": "text/plain", "Accept": "text/plain"}
        reply = requests.post(site.url + path, data=bytes(20_000), headers=headers, timeout=30)
        assert reply.status_code == 415
        assert f"Send this body as {kinds}: its Content-Type is text/plain." in reply.text
        packed = {"Content-Type": FORM, "Content-Encoding": "gzip"}
        assert requests.post(site.url + path, data=b"x", headers=packed, timeout=30).status_code == 415
    photo, unpacked = gzip.compress(jpeg()), {"Content-Encoding": "gzip"}
    assert requests.post(f"{site.url}/v1/label?name=test_0.jpg", data=photo, headers=unpacked, timeout=30).ok


def test_every_file_name_is_taken_shown_and_never_believed(site: Site) -> None:
    body = b"".join(part(name, jpeg()) for name in NAMES) + b"--xyz--\r\n"
    reply = send(site, body)
    assert reply.status_code == 200
    assert len(reply.text.splitlines()) == len(NAMES)
    address = site.url + reply.headers["Content-Location"]
    photos = requests.get(address + ".json", timeout=10).json()["photos"]
    assert len(photos) == len(NAMES)
    names = [photo["name"] for photo in photos]
    assert names[:4] == ["passwd", "test_0.JPG", "🐟 fish.jpg", 'a "quoted" name.jpg']
    assert names[6:8] == ["same.jpg", "same.jpg"]
    assert all("/" not in name and len(name.encode()) <= 255 for name in names)
    page = requests.get(address, headers={"Accept": "text/html"}, timeout=10).text
    assert "<script>alert" not in page
    assert "script&gt;.jpg" in page or "&lt;script&gt;" in page
    assert "{{ 7*7 }}.jpg" in page
    for index in range(len(NAMES)):
        assert requests.get(f"{address}/photos/{index}/thumbnail", timeout=10).headers["Content-Type"] == "image/jpeg"


def test_the_pages_groups_land_at_their_index_and_may_be_sent_twice(site: Site) -> None:
    batch = requests.post(site.url + "/batches", timeout=10).json()
    address = f"{site.url}{batch['url']}/photos?first=7"
    files = [("inputFile", ("a.jpg", jpeg())), ("inputFile", ("b.jpg", b"bad"))]
    first = requests.post(address, files=files, timeout=10).json()
    assert first == requests.post(address, files=files, timeout=10).json()
    assert [(one["index"], one["name"], one["status"]) for one in first] == [
        (7, "a.jpg", "accepted"),
        (8, "b.jpg", "failed"),
    ]
    assert first[0]["error"] == ""
    assert "not an image" in first[1]["error"]
    assert [one.key for one in site.cloud.inputs.list(batch["batch"])] == [f"{batch['batch']}/00007/a.jpg"]


@pytest.mark.parametrize("first", ["-1", "x", "100000", "1e3", "٣", ""])
def test_a_wrong_index_is_a_400(site: Site, first: str) -> None:
    files = {"inputFile": ("a.jpg", jpeg())}
    reply = requests.post(f"{site.url}/batches/{BATCH}/photos", params={"first": first}, files=files, timeout=10)
    assert reply.status_code == 400


def test_photos_for_a_batch_that_cannot_be_are_a_404(site: Site) -> None:
    reply = requests.post(f"{site.url}/batches/nonsense/photos", files={"inputFile": ("a", jpeg())}, timeout=10)
    assert reply.status_code == 404


def test_messages_go_ten_a_call_and_the_rest_at_the_end(idle: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = idle.cloud.requests.send

    def count(bodies: Sequence[str], attributes: Sequence[Mapping[str, str]] = ()) -> None:
        calls.append(len(bodies))
        real(bodies, attributes)

    monkeypatch.setattr(idle.cloud.requests, "send", count)
    body = b"".join(part(f"{number}.jpg", jpeg()) for number in range(23)) + b"--xyz--\r\n"
    taken = idle.intake.take(form(body), BATCH)
    assert sorted(calls) == [3, 10, 10]
    assert [one.job.index for one in taken] == list(range(23))
    keys = {json.loads(one.body)["key"] for _ in range(3) for one in idle.cloud.requests.receive(10, 0)}
    assert keys == {one.key for one in idle.cloud.inputs.list("")}


def test_a_store_that_fails_is_retryable_and_nothing_is_queued(idle: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    real = idle.cloud.inputs.put

    def put(key: str, body: bytes, content_type: str) -> None:
        if "00003" in key:
            raise Retryable("throttled")
        real(key, body, content_type)

    monkeypatch.setattr(idle.cloud.inputs, "put", put)
    body = b"".join(part(f"{number}.jpg", jpeg()) for number in range(9)) + b"--xyz--\r\n"
    with pytest.raises(Retryable):
        idle.intake.take(form(body), BATCH)
    assert len(list(idle.cloud.inputs.list(""))) >= 3
    assert idle.cloud.requests.depth().visible == 0
    assert [one.key for one in idle.cloud.outputs.list("pending/")] == [f"pending/{BATCH}/00000"]


@pytest.mark.parametrize("photos", [1, 6, HELD, HELD + 1, 30])
@pytest.mark.parametrize("end", [b"", b"--xyz\r\nContent-Type: image/jpeg\r\n\r\nx\r\n--xyz--\r\n"])
def test_nothing_of_a_form_that_breaks_off_is_accepted(idle: Services, photos: int, end: bytes) -> None:
    body = b"".join(part(f"{number}.jpg", jpeg()) for number in range(photos)) + end
    with pytest.raises(Problem, match="cut off or malformed"):
        idle.intake.take(form(body), BATCH)
    assert idle.cloud.requests.depth().total == 0
    complete = photos if end else photos - 1
    assert bool(list(idle.cloud.inputs.list(""))) == (complete > HELD)  # a short form is read before it is stored
    sweeper = Sweeper(idle.cloud, idle.clock, "replies", 60.0, days=365 * 100)
    for _ in range(3):
        idle.clock.wait(ABANDONED_SECONDS)
        sweeper.sweep()
    assert idle.cloud.requests.depth().total == 0
    assert list(idle.cloud.inputs.list("")) == list(idle.cloud.outputs.list("pending/")) == []


def test_photos_are_pending_until_the_end_of_their_form(idle: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[object] = []
    real = idle.cloud.inputs.put

    def put(key: str, body: bytes, content_type: str) -> None:
        marks.append([json.loads(idle.cloud.outputs.get(one.key)) for one in idle.cloud.outputs.list("pending/")])
        real(key, body, content_type)

    monkeypatch.setattr(idle.cloud.inputs, "put", put)
    body = b"".join(part(f"{number}.jpg", jpeg()) for number in range(HELD + 2)) + b"--xyz--\r\n"
    idle.intake.take(form(body), BATCH)
    assert marks == [[{"last": HELD, "refused": False}]] * (HELD + 2)
    assert list(idle.cloud.outputs.list("pending/")) == []
    assert idle.cloud.requests.depth().total == HELD + 2


def test_a_photo_that_was_sent_again_and_accepted_is_not_pending(
    idle: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(key: str, body: bytes, content_type: str) -> None:
        raise Retryable(f"throttled: {key}, {len(body)} bytes of {content_type}")

    body = part("a.jpg", jpeg()) + b"--xyz--\r\n"
    with monkeypatch.context() as patch:
        patch.setattr(idle.cloud.inputs, "put", put)
        with pytest.raises(Retryable):
            idle.intake.take(form(body), BATCH)
    idle.clock.wait(1)
    idle.intake.take(form(body), BATCH)
    (message,) = idle.cloud.requests.receive(10, 0)
    idle.cloud.requests.delete([message.receipt])  # the queue loses it
    idle.clock.wait(2 * ABANDONED_SECONDS)
    Sweeper(idle.cloud, idle.clock, "replies", 60.0, days=365 * 100).sweep()
    assert idle.cloud.requests.depth().total == 1


def test_a_queue_that_fails_is_a_503_that_names_the_batch(idle: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(bodies: Sequence[str], attributes: Sequence[Mapping[str, str]] = ()) -> None:
        raise Retryable(f"{len(bodies)} messages, {len(attributes)} attributes: away")

    monkeypatch.setattr(idle.cloud.requests, "send", send)
    with pytest.raises(Problem, match=f"/batches/{BATCH}") as failed:
        idle.intake.take(form(part("a.jpg", jpeg()) + b"--xyz--\r\n"), BATCH)
    assert failed.value.status == 503
    assert list(idle.cloud.outputs.list("pending/")) == []


def test_intake_takes_nothing_new_once_the_server_stops(idle: Services) -> None:
    idle.hub.stop()
    with pytest.raises(Problem) as stopped:
        idle.intake.take(form(part("a.jpg", jpeg()) + b"--xyz--\r\n"), BATCH)
    assert stopped.value.status == 503


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some.data())
def test_any_body_is_read_or_refused_and_never_breaks(data: some.DataObject) -> None:
    good = part("a.jpg", b"payload\r\n--xy", "inputFile") + part("b", b"", "myfile") + b"--xyz--\r\n"
    noise = data.draw(
        some.binary(max_size=60) | some.sampled_from([b"\r\n--xyz", b"--xyz--", b"\r\n\r\n", b"\r", b":"])
    )
    at = data.draw(some.integers(0, len(good)))
    cut = data.draw(some.integers(0, 30))
    body = good[:at] + noise + good[at + cut :]
    with suppress(Problem):  # a clear 400; anything else breaks the test
        for one in read_parts(io.BytesIO(body), FORM, 1_000):
            assert one.body is not None
            assert len(one.body.read()) == one.size
            one.close()


@hypothesis_settings(deadline=None)
@given(some.lists(some.binary(max_size=3_000), min_size=1, max_size=6))
def test_what_is_sent_is_what_is_read(photos: list[bytes]) -> None:
    request = requests.Request("POST", "http://x", files=[("inputFile", ("n", body)) for body in photos]).prepare()
    assert isinstance(request.body, bytes)
    found = []
    for one in read_parts(io.BytesIO(request.body), request.headers["Content-Type"], 2_000):
        found.append(one.body.read() if one.body else one.size)
        one.close()
    assert found == [body if len(body) <= 2_000 else len(body) for body in photos]


def test_request_messages_name_the_queue_to_reply_to(idle: Services) -> None:
    idle.intake.take(form(part("x" * 400 + "é.jpg", jpeg()) + b"--xyz--\r\n"), BATCH)
    (message,) = idle.cloud.requests.receive(10, 0)
    assert len(message.body.encode()) <= 1024
    assert Job.from_json(message.body).reply_to == "test-resp-queue"


class SlowQueue(MemoryQueue):
    """Notes each call, and holds them while the gate is closed."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.calls: list[int] = []
        self.gate = threading.Event()

    def send(self, bodies: Sequence[str], attributes: Sequence[Mapping[str, str]] = ()) -> None:
        self.calls.append(len(bodies))
        assert self.gate.wait(20)
        if "bad" in bodies:
            raise Retryable("away")
        super().send(bodies, attributes)


def test_messages_of_many_requests_gather_while_a_call_is_under_way() -> None:
    queue = SlowQueue()
    outbox = Outbox(queue, lambda: None)
    with ThreadPoolExecutor(32) as requests_:
        first = requests_.submit(outbox.send, ["first"], [{}])
        until(lambda: len(queue.calls) == 1)
        later = [
            requests_.submit(outbox.send, [f"{number} {place}" for place in range(3)], [{}] * 3) for number in range(7)
        ]
        until(lambda: len(outbox._waiting) == 7)
        queue.gate.set()
        for one in [first, *later]:
            one.result(20)
    assert queue.calls == [1, 9, 9, 3]
    assert queue.depth().visible == 22
    assert outbox.wait_seconds == 0.0


def test_every_request_hears_that_its_messages_were_not_sent() -> None:
    queue = SlowQueue()
    outbox = Outbox(queue, lambda: None)
    with ThreadPoolExecutor(32) as requests_:
        first = requests_.submit(outbox.send, ["good"], [{}])
        until(lambda: len(queue.calls) == 1)
        later = [requests_.submit(outbox.send, [body], [{}]) for body in ("bad", "good", "good")]
        until(lambda: len(outbox._waiting) == 3)
        queue.gate.set()
        assert first.exception(20) is None
        assert {type(one.exception(20)) for one in later} == {Retryable}
    outbox.send(["good"], [{}])
    assert queue.depth().visible == 2
