"""The tails of the venue `split` in a Lambda function on a running embedded cloud: a real function in its role."""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import botocore.session
import numpy as np
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from inference import process
from inference.split import header, packing
from inference.split.header import Header
from shoal import aws, settings
from shoal.aws import HttpAnswer
from shoal.messages import Job
from shoal_cli import doctor, prepare
from shoal_cli._batches import classify
from shoal_cli._splitting._device import Device
from shoal_cli._splitting._tail_calls import MOST_BYTES, TailCalls
from tests.inference_fixtures import MAX_BYTES, MAX_PIXELS, PHOTOS, ROOT
from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud
from tests.policy_fixtures import Role, granted, used
from tests.small_cut import MODEL, POINT, SHAPE, TAIL, activation, make_small_cut

CALLER = "tail-caller"
RAW = activation().tobytes()


@dataclass(frozen=True)
class TailVenue:
    """A cloud with the function in it. chosen: its settings. calls: signed by the owner of the cloud."""

    cloud: CloudProcess
    chosen: settings.Settings
    calls: aws.SignedCalls
    address: str
    variables: dict[str, str]

    def post(self, body: bytes) -> tuple[int, str]:
        """The status of the answer, and its error."""
        answer = self.calls.post(body, header.TYPE)
        return answer.status, json.loads(answer.body).get("error", "")

    def works(self) -> bool:
        return self.post(packing.pack(activation(), POINT))[0] == 200


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TailVenue]:
    folder = tmp_path_factory.mktemp("cloud")
    make_small_cut(folder / "cache")
    image = make_image(folder / "image")
    with (
        running_cloud(folder / "state", "--image", f"base={image}") as cloud,
        pytest.MonkeyPatch.context() as environment,
    ):
        given = {"STATE_DIR": str(cloud.state_dir), "CACHE_DIR": str(folder / "cache"), "TAILS": TAIL, "MODEL": MODEL}
        given["LAMBDA_CONCURRENCY"] = "2"
        for name, value in given.items():
            environment.setenv(f"SHOAL_{name}", value)
        chosen = settings.load_with_env_file()
        assert "`shoal prepare --venue split` makes it" in str(by_function().exception)
        assert "not made, so that workers alone run tails" in CliRunner().invoke(doctor.command).output
        for _ in range(2):  # it is safe to repeat
            told = CliRunner().invoke(prepare.command, ["--venue", "split"], catch_exceptions=False)
        assert f"shoal-lambda-tail: runs {TAIL}" in told.output
        found = aws.find_tail_function(chosen)
        yield TailVenue(cloud, chosen, aws.SignedCalls(found), found.address, given)


@pytest.fixture
def venue(made: TailVenue, monkeypatch: pytest.MonkeyPatch) -> TailVenue:
    """With the settings in the environment."""
    for name, value in made.variables.items():
        monkeypatch.setenv(f"SHOAL_{name}", value)
    return made


def by_function(*words: str) -> Result:
    """What `shoal classify` says, with its tails in the function."""
    return CliRunner().invoke(
        classify.command, [*map(str, PHOTOS), "--venue", "split", "--tail", "lambda", "--json", *words]
    )


def changed(**fields: object) -> bytes:
    """An activation in float32 with another header. `packed`: its numbers."""
    packed = fields.pop("packed", RAW)
    assert isinstance(packed, bytes)
    usual = Header(MODEL, POINT.cut, POINT.pair, SHAPE, "float32", "none", zlib.crc32(packed))
    return replace(usual, **fields).to_bytes() + packed  # type: ignore[arg-type]


def test_a_tail_gives_the_same_labels_in_the_function_and_in_a_worker(venue: TailVenue) -> None:
    recogniser = process.load([TAIL], "openvino", venue.chosen.cache_dir, None, MAX_PIXELS, MAX_BYTES)
    device = Device.of(venue.chosen, TAIL, "", "")
    sent = [device.pack(path.read_bytes()) for path in PHOTOS]
    expected = [process.process(recogniser, Job("", 0, "photo", "", TAIL), body) for body in sent]

    done = by_function()

    assert done.exit_code == 0, done.output
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["name"], one["index"]) for one in told] == [(path.name, n) for n, path in enumerate(PHOTOS)]
    found = [[(label["name"], round(label["probability"], 5)) for label in one["labels"]] for one in told]
    assert found == [[(label.name, round(label.probability, 5)) for label in one.labels[:5]] for one in expected]
    assert {one["model"] for one in told} == {TAIL}
    assert f"{len(PHOTOS)} photos" in done.stderr
    assert f"function {venue.chosen.tail_function}: runs {TAIL}, for signed calls" in CliRunner().invoke(
        doctor.command
    ).output.replace("\n", "")


def test_a_wrong_activation_is_refused_with_its_reason_and_the_function_goes_on(venue: TailVenue) -> None:
    nan = np.where(activation() > 200, np.nan, activation()).astype(np.float32).tobytes()
    bomb = packing.compress(bytes(50_000_000), "zstd")
    good = packing.pack(activation(), POINT)
    wrong = {
        b"a photo": "this is no packed activation",
        changed(model="resnet50"): f"is not served here; served are {TAIL}",
        changed(cut="another"): f"is not served here; served are {TAIL}",
        changed(pair="f" * 16): "different weights",
        changed(shape=(4, 4, 4)): r"the shape [4, 4, 4], and [4, 4, 3] was expected",
        changed(packed=nan): "not finite",
        changed(packed=bomb, compression="zstd"): "unpacks to more than",
        good[:-9]: "zstd data is damaged",
        good[:20]: "cut off in its header",
        good.replace(b"\n\x01", b"\n\x02", 1): "has version 2",
    }
    for body, words in wrong.items():
        status, error = venue.post(body)
        assert status == 400, words
        assert words in error or (words == "zstd data is damaged" and "cut off" in error), error
    assert venue.works()
    other = CliRunner().invoke(
        classify.command, [str(PHOTOS[0]), "--venue", "split", "--tail", "lambda", "--cut", "none"]
    )
    assert "run `shoal split prepare mobilenet_v2 none`" in str(other.exception)


def test_what_lambda_would_not_take_is_not_sent(venue: TailVenue) -> None:
    assert venue.calls.post(bytes(MOST_BYTES), header.TYPE).status == 400  # it gets there
    too_large = venue.calls.post(bytes(MOST_BYTES + 100_000), header.TYPE)
    assert too_large.status == 413
    assert b"must be smaller than 6291456 bytes" in too_large.body


def test_a_connection_that_is_lost_in_the_middle_does_no_harm(venue: TailVenue) -> None:
    place = urlsplit(venue.address)
    for _ in range(3):
        with socket.create_connection((place.hostname, place.port), timeout=10) as line:
            head = f"POST {place.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
            signed = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, "
            line.sendall(f"{head}Authorization: {signed}Signature=0\r\n\r\n".encode() + bytes(50_000))
    assert venue.works()


def test_only_signed_calls_of_who_may_get_through(venue: TailVenue) -> None:
    body = packing.pack(activation(), POINT)
    assert requests.post(venue.address, data=body, timeout=10).status_code == 403
    assert requests.options(venue.address, headers={"Origin": "http://x"}, timeout=10).status_code >= 400
    iam = venue.cloud.client("iam")
    iam.create_role(RoleName=CALLER, AssumeRolePolicyDocument="{}")
    role = Role(venue.cloud, CALLER)
    assert _as_role(venue, role, body) == 403
    policy = ROOT / "ami" / "tail-caller-policy.json"
    iam.put_role_policy(
        RoleName=CALLER, PolicyName="p", PolicyDocument=policy.read_text().replace("@PREFIX@", venue.chosen.prefix)
    )
    assert _as_role(venue, role, body) == 200
    assert _as_role(venue, role, body, service="s3") == 403
    functions = role.client("lambda")
    functions.get_function_configuration(FunctionName=venue.chosen.tail_function)
    functions.get_function_url_config(FunctionName=venue.chosen.tail_function)
    for call in (functions.invoke, functions.delete_function, functions.delete_function_url_config):
        with pytest.raises(ClientError, match="AccessDenied"):
            call(FunctionName=venue.chosen.tail_function)
    assert granted(policy) == used(venue.cloud.state_dir, CALLER)
    assert used(venue.cloud.state_dir, venue.chosen.tail_function) == set()  # the function itself calls nothing


def _as_role(venue: TailVenue, role: Role, body: bytes, service: str = "lambda") -> int:
    """The status of the answer to an activation that this role sends."""
    keys = role.client("lambda")._request_signer._credentials
    request = AWSRequest("POST", venue.address, data=body, headers={"Content-Type": header.TYPE})
    SigV4Auth(keys, service, "us-east-1").add_auth(request)
    status: int = botocore.httpsession.URLLib3Session().send(request.prepare()).status_code
    return status


def test_a_function_that_takes_no_calls_or_fails_is_told_plainly(venue: TailVenue) -> None:
    functions, name = venue.cloud.client("lambda"), venue.chosen.tail_function
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    calls = TailCalls(name, venue.calls, patience=0, sleep=lambda _: None)
    with pytest.raises(Exception, match=r"takes no more calls now \(429\)"):
        calls.label(packing.pack(activation(), POINT))
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    usual = functions.get_function_configuration(FunctionName=name)
    variables = usual["Environment"]["Variables"]

    def change(**more: str) -> None:
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables | more})

    change(SHOAL_CACHE_DIR="/nowhere")
    away = by_function()
    change(SHOAL_ENGINE="none")
    broken = by_function()
    change()
    assert (away.exit_code, broken.exit_code) == (2, 2)
    assert "cannot run this tail (500): the tail of mobilenet_v2 cut at small is not in /nowhere" in away.output
    assert "failed or reached its time limit (502): 'none' is no" in broken.output
    assert venue.works()


def test_remove_takes_the_function_its_role_and_its_address_away(venue: TailVenue) -> None:
    for _ in range(2):
        told = CliRunner().invoke(prepare.command, ["--venue", "split", "--remove"], catch_exceptions=False)
        assert f"removed function {venue.chosen.tail_function}" in told.output
    assert venue.chosen.tail_function not in [
        one["RoleName"] for one in venue.cloud.client("iam").list_roles()["Roles"]
    ]
    assert venue.calls.post(b"", header.TYPE).status in (403, 404)
    assert "`shoal prepare --venue split` makes it" in str(by_function().exception)
    assert by_function("--resume", "b").exit_code == 2


class _Canned:
    """Answers in a row; the last one for ever."""

    def __init__(self, *answers: HttpAnswer) -> None:
        self.answers = list(answers)
        self.asked = 0

    def post(self, _body: bytes, _kind: str) -> HttpAnswer:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


BUSY = HttpAnswer(503, {"retry-after": "3"}, b"")
SURE = b'{"v":1,"key":"-","status":"done","labels":[{"name":"cat","wordnet_id":"","probability":1}]}'


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, b'{"error":"the activation is cut off"}', "^the activation is cut off$"),
        (403, b'{"Message":"Forbidden"}', r"may not call f \(403\): ami/tail-caller-policy.json"),
        (404, b"", "no function f at its address"),
        (413, b'{"Message":"too long"}', r"too large for f \(413\): too long"),
        (502, b'{"message":"Internal Server Error"}', r"f failed or reached its time limit \(502\): Internal Server E"),
        (504, b"<html>", r"f did not answer in time \(504\): SHOAL_LAMBDA_SECONDS"),
        (418, b"\xff", "f answers 418: without a reason"),
        (200, b"{}", "the answer of f is no result"),
        (503, b"", r"takes no more calls now \(503\)"),
    ],
)
def test_each_answer_of_a_gateway_is_told_in_plain_words(status: int, body: bytes, words: str) -> None:
    calls = TailCalls("f", _Canned(HttpAnswer(status, {}, body)), patience=0, sleep=lambda _: None)
    with pytest.raises(Exception, match=words):
        calls.label(b"x")


def test_a_busy_function_is_asked_again_when_it_says() -> None:
    pauses: list[float] = []
    in_body = HttpAnswer(429, {}, b'{"retryAfterSeconds": "5"}')
    canned = _Canned(BUSY, in_body, HttpAnswer(429, {"retry-after": "soon"}, b""), HttpAnswer(200, {}, SURE))
    assert TailCalls("f", canned, sleep=pauses.append).label(b"x").label == "cat"
    assert pauses == [3, 5, 1]
    with pytest.raises(Exception, match=r"has 4\.9 MB, and a call to Lambda takes 4\.7 MB: choose a deeper cut"):
        TailCalls("f", canned).label(bytes(4_900_000))
    assert canned.asked == 4
