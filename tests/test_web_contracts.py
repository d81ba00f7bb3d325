"""The addresses and shapes of the systems that Shoal descends from."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click.testing
import pytest
import requests

from shoal.clock import SystemClock
from shoal.errors import Permanent
from shoal.memory import memory_cloud
from shoal.messages import Detection, Job, Result
from shoal_cli.__main__ import shoal
from shoal_cli._batches import _contracts
from tests import web_fixtures
from tests.test_web_fetch import serving
from tests.web_fixtures import Site, jpeg, labels_of, running_site
from web_tier.schemas.bodies import PHOTO_JSON_BYTES

PHOTO = base64.b64encode(jpeg()).decode()
FOUND = (
    Detection("cat", 17, 0.96, (10, 20, 30, 40), (0.1, 0.2, 0.3, 0.4)),
    Detection("person", 1, 0.71, (0, 0, 5, 9), (0.0, 0.0, 0.05, 0.09)),
)


@pytest.fixture(scope="module")
def photos_port() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture(scope="module")
def site(photos_port: int) -> Iterator[Site]:
    with running_site(fetch_own=f"127.0.0.1:{photos_port}") as running:
        yield running


@pytest.fixture
def detecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A Shoal that serves a detector, whose worker finds a cat and a person in 0.5 ms."""

    def detections(job: Job) -> Result:
        assert job.model == "ssd_mobilenet_v2"
        return replace(Result(job.key, "done"), detections=FOUND, seconds={"infer": 0.0005}, model=job.model)

    monkeypatch.setattr(web_fixtures, "answer_of", detections)
    with running_site(memory_cloud(SystemClock()), models="resnet50,ssd_mobilenet_v2") as running:
        yield running


def recognise(site: Site, url: str) -> requests.Response:
    return requests.get(f"{site.url}/cloudimagerecognition.php", params={"input": url}, timeout=30)


def test_an_address_is_answered_with_the_image_and_its_label(site: Site, photos_port: int) -> None:
    reply = recognise(site, f"http://127.0.0.1:{photos_port}/cat.jpg")
    assert reply.status_code == 200
    assert reply.json() == ["cat.jpg", labels_of(Job("x" * 20, 0, "cat.jpg", ""))[0].name]


def test_forty_addresses_at_once_get_forty_answers(site: Site, photos_port: int) -> None:
    addresses = [f"http://127.0.0.1:{photos_port}/to?/cat.{number}.jpg" for number in range(40)]
    with ThreadPoolExecutor(40) as clients:
        replies = list(clients.map(lambda url: recognise(site, url), addresses))
    assert [reply.status_code for reply in replies] == [200] * 40
    assert all(reply.json()[0] == "to" and reply.json()[1] for reply in replies)


@pytest.mark.parametrize(
    ("url", "status", "told"),
    [
        ("http://169.254.169.254/latest/meta-data", 422, "the host in the address is not on the public internet"),
        ("file:///etc/passwd", 422, "only http and https addresses are fetched, not 'file'"),
    ],
)
def test_an_address_that_is_refused_is_told_so(site: Site, url: str, status: int, told: str) -> None:
    reply = recognise(site, url)
    assert (reply.status_code, reply.json()[1]) == (status, told)


def test_without_an_address_there_is_nothing_to_do(site: Site) -> None:
    assert requests.get(f"{site.url}/cloudimagerecognition.php", timeout=10).status_code == 400


def test_what_takes_too_long_is_a_timeout_result(photos_port: int) -> None:
    with running_site(work=False, fetch_own=f"127.0.0.1:{photos_port}", answer_seconds=1.0) as idle:
        reply = recognise(idle, f"http://127.0.0.1:{photos_port}/cat.jpg")
    assert (reply.status_code, reply.json()) == (504, ["cat.jpg", "timeout"])


def test_objects_are_found_in_a_picture(detecting: Site) -> None:
    reply = requests.post(f"{detecting.url}/object-detection", json={"id": "7", "image_data": PHOTO}, timeout=30)
    assert reply.status_code == 200
    assert reply.json() == {
        "id": "7",
        "objects": [{"label": "cat", "accuracy": 0.96}, {"label": "person", "accuracy": 0.71}],
        "inference_time": 0.5,
    }


def test_a_picture_that_is_none_is_told_so(detecting: Site) -> None:
    reply = requests.post(f"{detecting.url}/object-detection", json={"id": "7", "image_data": "!!"}, timeout=30)
    assert (reply.status_code, reply.json()["error"]) == (422, "the data is not valid base64")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "images", [[PHOTO, PHOTO], [{"id": 0, "image": PHOTO}, {"id": "1", "image": PHOTO}], {"0": PHOTO, "1": PHOTO}]
)
def test_a_set_of_pictures_is_looked_at(detecting: Site, method: str, images: Any) -> None:
    body = {"images": images, "upload_times": [30, 50.5]}
    reply = requests.request(method, f"{detecting.url}/api/detect", json=body, timeout=30)
    assert reply.status_code == 200
    expected = {
        "status": "done",
        "class_id": [17, 1],
        "bounding_boxes": [[10, 20, 30, 40], [0, 0, 5, 9]],
        "inference_time": 0.5,
        "average_inference_time": 0.5,
        "average_upload_time": 40.25,
    }
    assert reply.json() == [
        {"picture_id": "0", "upload_time": 30.0, **expected},
        {"picture_id": "1", "upload_time": 50.5, **expected},
    ]


def test_one_bad_picture_of_a_set_fails_alone(detecting: Site) -> None:
    reply = requests.post(f"{detecting.url}/api/detect", json={"images": [PHOTO, "!!"]}, timeout=30)
    good, bad = reply.json()
    assert (good["status"], good["upload_time"], good["average_upload_time"]) == ("done", None, None)
    assert (bad["status"], bad["error"], bad["bounding_boxes"]) == ("failed", "the data is not valid base64", [])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"images": []},
        {"images": "x"},
        {"images": [3]},
        {"images": [{"id": [], "image": PHOTO}]},
        {"images": [PHOTO], "upload_times": []},
        {"images": [PHOTO], "upload_times": ["soon"]},
        {"images": [PHOTO], "upload_times": [True]},
        {"images": [PHOTO], "upload_times": 3},
    ],
)
def test_a_malformed_set_is_refused(detecting: Site, body: Any) -> None:
    reply = requests.post(f"{detecting.url}/api/detect", json=body, timeout=30)
    assert reply.status_code == 400


def test_without_a_detector_that_is_said(site: Site) -> None:
    reply = requests.post(f"{site.url}/object-detection", json={"id": "7", "image_data": PHOTO}, timeout=30)
    assert (reply.status_code, "SHOAL_MODELS" in reply.text) == (501, True)


WRAPPED = "\r\n".join(PHOTO[start : start + 76] for start in range(0, len(PHOTO), 76)) + "\r\n"
AS_LIBRARIES_WRITE_IT = {
    "line ends": WRAPPED,
    "URL alphabet": PHOTO.translate(str.maketrans("+/", "-_")),
    "no padding": PHOTO.rstrip("="),
    "too much padding": PHOTO.rstrip("=") + "===",
    "data URL": f"data:image/jpeg;base64,{PHOTO}",
    "data URL, upper case and wrapped": f"DATA:image/jpeg;charset=x;BASE64,{WRAPPED}",
    "data URL, percent-encoded": f"data:image/jpeg;base64,{quote(PHOTO, safe='')}",
}
MODEL = "ssd_mobilenet_v2"
BODIES: dict[str, Callable[[str], dict[str, object]]] = {
    "/v1/batches": lambda data: {"photos": [{"name": "cat.jpg", "data": data}], "model": MODEL},
    "/object-detection": lambda data: {"id": "7", "image_data": data},
    "/api/detect": lambda data: {"images": [{"id": "7", "image": data}]},
}
FOUND_THERE = {"/v1/batches": '"name":"cat"', "/object-detection": '"label":"cat"', "/api/detect": '"class_id":[17,1]'}


@pytest.mark.parametrize("path", BODIES)
def test_base64_as_libraries_write_it(detecting: Site, path: str) -> None:
    for kind, data in AS_LIBRARIES_WRITE_IT.items():
        body, headers = BODIES[path](data), {"Prefer": "wait=20"}
        reply = requests.post(detecting.url + path, json=body, headers=headers, timeout=30)
        assert (kind, reply.status_code) == (kind, 200)
        assert FOUND_THERE[path] in "".join(reply.text.split()), kind


@pytest.mark.parametrize("path", BODIES)
def test_a_gzipped_body_is_unpacked_within_the_limits(detecting: Site, path: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Prefer": "wait=20"}
    plain = json.dumps(BODIES[path](PHOTO)).encode()
    packed = gzip.compress(plain)
    bomb = gzip.compress(b'{"a": ' + b" " * PHOTO_JSON_BYTES, 1)
    for body, statuses in ((packed, (200,)), (packed[:-9], (400,)), (b"no gzip", (400,)), (bomb, (400, 413))):
        reply = requests.post(detecting.url + path, data=body, headers=headers, timeout=60)
        assert reply.status_code in statuses, reply.text
    reply = requests.post(detecting.url + path, data=plain, headers=headers | {"Content-Encoding": "br"}, timeout=30)
    assert reply.status_code == 415


# The clients of both systems: `shoal classify --contract`.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three photos."""
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(jpeg())
    return tmp_path


def classify(contract: str, url: str, *words: str | Path, status: int = 0) -> click.testing.Result:
    done = click.testing.CliRunner().invoke(shoal, ["classify", "--contract", contract, "--url", url, *map(str, words)])
    assert done.exit_code == status, (done.output, done.exception)
    return done


def test_the_client_of_object_detection_tells_objects_and_average_times(detecting: Site, folder: Path) -> None:
    (folder / "b.jpg").write_bytes(b"no photo")
    done = classify("object-detection", detecting.url, folder, status=2)

    first, bad, last = done.stdout.splitlines()
    assert (first, last) == tuple(f"{folder}/{name}.jpg, cat 96.0%, person 71.0%" for name in "ac")
    assert bad.startswith(f"{folder}/b.jpg: failed: this is not an image that Shoal can read")
    assert "1 failed" in done.stderr
    assert "Average inference time 0.5 ms, average transfer time " in done.stderr


def test_the_client_of_detect_tells_classes_and_boxes(detecting: Site, folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(classify("detect", detecting.url, "--csv", folder / "a.jpg").stdout)))

    assert [(row["name"], row["class_id"], row["left"], row["bottom"]) for row in rows] == [
        ("a.jpg", "17", "10", "40"),
        ("a.jpg", "1", "0", "9"),
    ]
    told = json.loads(classify("detect", f"{detecting.url}/api/detect", "--json", folder / "a.jpg").stdout)
    assert (told["seconds"]["infer"], told["seconds"]["transfer"] > 0) == (0.0005, True)
    assert "class 17, class 1" in classify("detect", detecting.url, folder / "a.jpg").stdout


def test_the_client_says_that_a_shoal_has_no_detector(site: Site, folder: Path) -> None:
    done = classify("detect", site.url, folder, status=1)
    assert isinstance(done.exception, Permanent)
    assert "answers 501: No model that detects objects" in str(done.exception)


@dataclass
class ForeignEndpoint:
    """Somebody else's server. answers: (status, body) for each request in turn; a status 0 closes the connection."""

    answers: list[tuple[int, bytes]]
    asked: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def foreign() -> Iterator[ForeignEndpoint]:
    endpoint = ForeignEndpoint([])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            endpoint.asked.append((self.path, json.loads(body)))
            status, answer = endpoint.answers.pop(0)
            if status:
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield endpoint
    server.shutdown()
    thread.join()
    server.server_close()


GOOD = b'{"id": "x", "objects": [{"label": "bus", "accuracy": 0.4}, {"label": "cat\\u001b[2J", "accuracy": 1}]}'


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((200, b"<html>"), "not an answer: no JSON: "),
        ((200, b"[]"), "the answer is not of this contract"),
        ((200, b'{"objects": [{"label": "bus", "accuracy": 96.0}]}'), "an accuracy is from 0 to 1, not 96.0"),
        ((200, b'{"objects": [{"label": "bus"}]}'), "KeyError('accuracy')"),
        ((200, b" " * (_contracts.LARGEST_ANSWER + 1)), "the answer is larger than 4 MB"),
        ((413, b'{"message": "too large"}'), "too large"),
        ((500, b"<h1>Internal Server Error</h1>"), "the endpoint answers 500"),
        ((0, b""), "the endpoint broke off its answer"),
    ],
)
def test_one_bad_answer_of_another_endpoint_fails_one_photo(
    foreign: ForeignEndpoint, folder: Path, answer: tuple[int, bytes], why: str
) -> None:
    foreign.answers = [(200, GOOD), answer, (200, GOOD)]
    done = classify("object-detection", f"{foreign.url}/my/own", folder, status=2)

    first, bad, last = done.stdout.splitlines()
    assert first == f"{folder}/a.jpg, cat [2J 100.0%, bus 40.0%"
    assert bad.startswith(f"{folder}/b.jpg: failed: ")
    assert why in bad
    assert last.startswith(f"{folder}/c.jpg, ")
    assert "No answer told how many milliseconds of its call were inference." in done.stderr
    assert [(path, body["id"]) for path, body in foreign.asked] == [
        ("/my/own", "a.jpg"), ("/my/own", "b.jpg"), ("/my/own", "c.jpg"),
    ]  # fmt: skip
    assert base64.b64decode(foreign.asked[0][1]["image_data"]) == jpeg()


def test_a_remembered_answer_took_no_time_and_is_left_out_of_the_averages(
    foreign: ForeignEndpoint, folder: Path
) -> None:
    fresh, again = ({"class_id": [], "bounding_boxes": [], "inference_time": spent} for spent in (0.2, 0.0))
    foreign.answers = [(200, json.dumps([one]).encode()) for one in (fresh, again, again)]
    done = classify("detect", foreign.url, folder)
    assert "Average inference time 0.2 ms" in done.stderr
    assert "(of the 1 photos whose answers told it)" in done.stderr


def test_what_no_photo_can_change_ends_the_client_with_the_averages_until_then(
    foreign: ForeignEndpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_contracts, "BUSY_PAUSE_SECONDS", 0.0)
    picture = {"class_id": [3], "bounding_boxes": [[1.4, 2, 3, 4]], "inference_time": 0.001}
    foreign.answers = [(503, b"busy"), (200, json.dumps([picture]).encode()), (404, b'{"detail": "no such page"}')]
    done = classify("detect", foreign.url, folder, status=1)

    assert str(done.exception) == f"{foreign.url}/api/detect answers 404: no such page"
    assert "1 photo in " in done.stderr
    assert "Average inference time 0.0 ms, average transfer time " in done.stderr
    assert [body["images"][0]["id"] for _, body in foreign.asked] == ["a.jpg", "a.jpg", "b.jpg"]
    assert foreign.asked[0][1]["upload_times"][0] > 0


def test_an_endpoint_that_is_away_is_told_at_once(foreign: ForeignEndpoint, folder: Path) -> None:
    done = classify("detect", "http://127.0.0.1:1", folder, status=1)
    assert "nothing answers at http://127.0.0.1:1/api/detect (ConnectionError)" in str(done.exception)
    refused = classify("detect", foreign.url, "--draw", folder / "drawn", folder, status=2)
    assert "The contracts know no --model" in refused.stderr
