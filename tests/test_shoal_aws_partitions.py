"""The calls that do without boto3 go where boto3 sends them, and are signed as it signs them, in every region."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from boto3.session import Session as Boto3
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.loaders import JSONFileLoader

from shoal.aws import clients, signed
from shoal.aws.clients import Service, client
from shoal.aws.dynamodb import DynamoRegister
from shoal.aws.s3 import S3Store
from shoal.aws.sqs import SqsQueue
from shoal.aws.uploads import S3Uploads
from shoal.ports import Beat
from tests.aws_session import forget_session

PARTITIONS = ("aws", "aws-cn", "aws-us-gov")
NOW = datetime(2026, 11, 30, 12, 0, 0)
BUCKET, KEY = "fish-in-bucket", "20261130/0/a b+ü.jpg"
QUEUE_URL = "https://queue.example/123456789012/fish-req-queue"
RECEIPT = {"Id": "0", "ReceiptHandle": "r"}


def regions() -> list[str]:
    known = Boto3()
    return [region for partition in PARTITIONS for region in known.get_available_regions("s3", partition)]


plain_load_file = JSONFileLoader.load_file


@cache
def load_once(path: str) -> object:
    """Reading the services' models again for each region takes most of the time."""
    return plain_load_file(JSONFileLoader(), path)


class Sent(Exception):
    """Instead of sending a request."""

    def __init__(self, request: Any) -> None:
        self.request = request


@pytest.fixture(autouse=True)
def nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of a role")
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda _, path: load_once(path))
    # Without checksums, which boto3 would put into a trailer.
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: NOW)
    monkeypatch.setattr(clients, "_variables", {})

    def send(_: str, request: AWSRequest) -> AWSResponse:
        raise Sent(request.prepare())

    monkeypatch.setattr(signed, "send", send)


@pytest.fixture
def start_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Begins as a program of this region would."""

    def begin(region: str) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        forget_session(monkeypatch)

    return begin


def ours(act: Callable[[], object]) -> tuple[str, Mapping[str, str]]:
    with pytest.raises(Sent) as sent:
        act()
    return sent.value.request.url, {name.lower(): value for name, value in sent.value.request.headers.items()}


def boto3s(
    service: str, operation: str, headers: Mapping[str, str], **parameters: Any
) -> tuple[str, Mapping[str, str]]:
    """What boto3 sends, with the headers that we have: it adds some of its own, and signs them."""
    there = client(service)

    def only_ours(request: AWSRequest, **_: Any) -> None:
        for name in list(request.headers):
            if name.lower() not in headers:
                del request.headers[name]

    def stop(request: Any, **_: Any) -> None:
        raise Sent(request)

    there.meta.events.register_last(f"before-sign.{service}", only_ours)
    there.meta.events.register_first(f"before-send.{service}", stop)
    try:
        with pytest.raises(Sent) as sent:
            getattr(there, operation)(**parameters)
    finally:
        there.meta.events.unregister(f"before-sign.{service}", only_ours)
        there.meta.events.unregister(f"before-send.{service}", stop)
    found = {
        name.lower(): value.decode() if isinstance(value, bytes) else value
        for name, value in sent.value.request.headers.items()
    }
    return sent.value.request.url, found


def queue() -> SqsQueue:
    return SqsQueue(Service("sqs"), "fish-req-queue")


def named_queue() -> SqsQueue:
    found = queue()
    found._url = QUEUE_URL
    return found


def store() -> S3Store:
    return S3Store(Service("s3"), BUCKET)


def forget() -> None:
    DynamoRegister(Service("dynamodb"), "fish-pool").forget(["i-1"])


# Ours, and the same by boto3.
CALLS: list[tuple[Callable[[], object], str, str, dict[str, Any]]] = [
    (lambda: store().get(KEY), "s3", "get_object", {"Bucket": BUCKET, "Key": KEY}),
    (
        lambda: store().put(KEY, b"x", "image/png"),
        *("s3", "put_object", {"Bucket": BUCKET, "Key": KEY, "Body": b"x", "ContentType": "image/png"}),
    ),
    (
        lambda: list(store().list("2026 ü", "2025")),
        *("s3", "list_objects_v2", {"Bucket": BUCKET, "Prefix": "2026 ü", "StartAfter": "2025", "MaxKeys": 1000}),
    ),
    (lambda: named_queue().delete(["r"]), "sqs", "delete_message_batch", {"QueueUrl": QUEUE_URL, "Entries": [RECEIPT]}),
    (forget, "dynamodb", "delete_item", {"TableName": "fish-pool", "Key": {"id": {"S": "i-1"}}}),
]


def check(act: Callable[[], object], service: str, operation: str, parameters: dict[str, Any]) -> None:
    url, headers = ours(act)
    their_url, their_headers = boto3s(service, operation, headers, **parameters)
    (host, _, query), (their_host, _, their_query) = url.partition("?"), their_url.partition("?")
    assert host == their_host
    assert sorted(query.split("&")) == sorted(their_query.split("&"))
    assert headers["authorization"] == their_headers["authorization"]


@pytest.mark.parametrize("region", regions())
def test_a_call_is_boto3_s_in_every_region(region: str, start_in: Callable[[str], None]) -> None:
    start_in(region)
    for call in CALLS:
        check(*call)
    form = S3Uploads(Service("s3"), BUCKET).form(KEY, 10, 60)
    assert form.url + "/" == client("s3").generate_presigned_post(BUCKET, KEY)["url"]
    assert f"/{region}/s3/aws4_request" in form.fields["x-amz-credential"]
    assert f".{region}." in form.url


@pytest.mark.parametrize("kind", ["FIPS", "DUALSTACK"])
@pytest.mark.parametrize("region", ["us-east-1", "ca-central-1", "us-gov-west-1"])
def test_a_call_is_boto3_s_with_other_endpoints(
    kind: str, region: str, start_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AWS_USE_{kind}_ENDPOINT", "true")
    start_in(region)
    for call in CALLS:
        check(*call)
    assert ("fips" if kind == "FIPS" else "dualstack") in S3Uploads(Service("s3"), BUCKET).origin


def test_the_address_is_known_before_there_are_credentials(
    start_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web tier needs it at its start, and the metadata service may be late."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    start_in("eu-west-1")
    assert S3Uploads(Service("s3"), BUCKET).origin == f"https://{BUCKET}.s3.eu-west-1.amazonaws.com"


def test_a_store_with_an_address_of_its_own_has_buckets_in_the_path(
    start_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://store:9000\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    start_in("us-east-1")
    for call in CALLS:
        check(*call)
    assert S3Uploads(Service("s3"), BUCKET).form(KEY, 10, 60).url == f"http://store:9000/{BUCKET}"


@pytest.mark.parametrize(
    "act",
    [
        lambda: queue().url,
        lambda: named_queue().send(["a"], [{"upload": "0.25"}]),
        lambda: named_queue().receive(10, 20),
        lambda: named_queue().delete(["r"]),
        lambda: named_queue().extend(["r"], 30),
        lambda: named_queue().depth(),
        lambda: DynamoRegister(Service("dynamodb"), "fish-pool").beat("i-1", Beat(1)),
        lambda: DynamoRegister(Service("dynamodb"), "fish-pool").forget(["i-1"]),
    ],
    ids=["find", "send", "receive", "delete", "extend", "depth", "beat", "forget"],
)
def test_the_parameters_are_those_of_boto3_s_models(
    act: Callable[[], object], start_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that did not succeed is made again by boto3, which checks its parameters and sends it."""
    start_in("us-east-1")
    monkeypatch.setattr(signed, "call", lambda *_: None)

    def stop(request: Any, **_: Any) -> None:
        raise Sent(request)

    for service in ("sqs", "dynamodb"):
        client(service).meta.events.register_first(f"before-send.{service}", stop)
    with pytest.raises(Sent):
        act()
