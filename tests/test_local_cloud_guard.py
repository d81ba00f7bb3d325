"""What strangers get from the ports of a running cloud: nothing.

A stranger is a web page of another origin, or a program of this machine that has no keys.
"""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud
from tests.signed_fixtures import send_signed

EVIL = "https://evil.example"
CORS = {"AllowedOrigins": ["http://127.0.0.1:8000"], "AllowedMethods": ["POST"], "AllowedHeaders": ["*"]}
RUN = "Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MinCount=1&MaxCount=1"
SIGNED_V4 = Config(signature_version="s3v4")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    with running_cloud(folder / "state", "--image", f"base={image}", "--boot-seconds", "0") as cloud:
        for bucket in ("forms", "private"):
            cloud.client("s3").create_bucket(Bucket=bucket)
            cloud.client("s3").put_object(Bucket=bucket, Key="photo", Body=b"a photo")
        cloud.client("s3").put_bucket_cors(Bucket="forms", CORSConfiguration={"CORSRules": [CORS]})
        yield cloud


@pytest.fixture
def s3(cloud: CloudProcess) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=cloud.env["AWS_ENDPOINT_URL_S3"],
        region_name="us-east-1",
        aws_access_key_id=cloud.env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=cloud.env["AWS_SECRET_ACCESS_KEY"],
        config=SIGNED_V4,
    )


def ec2_url(cloud: CloudProcess) -> str:
    return cloud.env["AWS_ENDPOINT_URL"]


def s3_url(cloud: CloudProcess) -> str:
    return cloud.env["AWS_ENDPOINT_URL_S3"]


def test_the_keys_are_random_and_readable_by_the_owner_alone(cloud: CloudProcess) -> None:
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", cloud.env["AWS_ACCESS_KEY_ID"])
    assert len(cloud.env["AWS_SECRET_ACCESS_KEY"]) == 40
    assert (cloud.state_dir / "env").stat().st_mode & 0o777 == 0o600
    for path in cloud.state_dir.rglob("*"):
        if path.is_file() and path.name != "env":
            assert cloud.env["AWS_SECRET_ACCESS_KEY"].encode() not in path.read_bytes(), path


@pytest.mark.parametrize("origin", [{}, {"Origin": EVIL}], ids=["a program", "a page"])
def test_a_stranger_starts_no_instance(cloud: CloudProcess, origin: dict[str, str]) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    credential = "Credential=test/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0"
    for headers in (form, {**form, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}):
        answer = requests.post(ec2_url(cloud), data=RUN, headers=headers | origin, timeout=10)
        assert answer.status_code in (400, 401, 403)
        assert "<Error>" in answer.text
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert requests.get(f"{ec2_url(cloud)}/?{RUN}", headers=origin, timeout=10).status_code == 400
    assert cloud.ec2.describe_instances()["Reservations"] == []


@pytest.mark.parametrize("origin", [{}, {"Origin": EVIL}], ids=["a program", "a page"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/private?list-type=2"),
        ("GET", "/private/photo"),
        ("HEAD", "/private/photo"),
        ("PUT", "/private/photo"),
        ("DELETE", "/private/photo"),
        ("POST", "/?Action=ListQueues"),
        ("POST", "/private?delete"),
    ],
)
def test_a_stranger_reads_and_changes_nothing(
    cloud: CloudProcess, method: str, path: str, origin: dict[str, str]
) -> None:
    answer = requests.request(method, s3_url(cloud) + path, data=b"other", headers=origin, timeout=10)
    assert answer.status_code == 403
    assert b"photo" not in answer.content
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert cloud.client("s3").get_object(Bucket="private", Key="photo")["Body"].read() == b"a photo"


@pytest.mark.parametrize(
    "path",
    ["/_ministack/reset", "/_ministack/config", "/_ministack/sqs/messages", "/_localstack/init", "/_aws/sqs/messages"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_emulators_own_paths_are_closed(cloud: CloudProcess, method: str, path: str) -> None:
    assert requests.request(method, s3_url(cloud) + path, timeout=10).status_code == 404
    signed = send_signed(method, s3_url(cloud) + path, cloud.env, "s3")
    assert signed.status_code == 404


def test_motos_own_paths_are_closed(cloud: CloudProcess) -> None:
    for method, path in (("POST", "/moto-api/reset"), ("POST", "/moto-api/reset-auth"), ("GET", "/moto-api/data.json")):
        assert requests.request(method, ec2_url(cloud) + path, timeout=10).status_code == 404
    assert cloud.ec2.describe_images(Owners=["self"])["Images"]


def test_health_is_told_to_everybody(cloud: CloudProcess) -> None:
    for host in ({}, {"Host": "cloud.example"}):
        assert requests.get(f"{s3_url(cloud)}/_ministack/health", headers=host, timeout=10).status_code == 200


def test_a_name_that_is_bound_to_this_machine_is_not_answered(cloud: CloudProcess) -> None:
    for url in (ec2_url(cloud), s3_url(cloud)):
        answer = requests.get(url, headers={"Host": f"evil.example:{urlsplit(url).port}"}, timeout=10)
        assert (answer.status_code, "no other name" in answer.text) == (403, True)


def test_acting_on_instances_needs_a_signature(cloud: CloudProcess) -> None:
    url = f"{ec2_url(cloud)}/_local_cloud/instances/i-00000000000000000/interruption"
    assert requests.post(url, timeout=10).status_code == 400
    assert send_signed("POST", url, cloud.env).status_code == 404


def test_only_the_buckets_own_rule_opens_it_to_pages(cloud: CloudProcess) -> None:
    def ask(path: str, origin: str, method: str) -> requests.Response:
        headers = {"Origin": origin, "Access-Control-Request-Method": method}
        return requests.options(s3_url(cloud) + path, headers=headers, timeout=10)

    allowed = ask("/forms", CORS["AllowedOrigins"][0], "POST")
    assert allowed.headers["Access-Control-Allow-Origin"] == CORS["AllowedOrigins"][0]
    for refused in (
        ask("/forms", EVIL, "POST"),
        ask("/forms", CORS["AllowedOrigins"][0], "GET"),
        ask("/private", CORS["AllowedOrigins"][0], "POST"),
        ask("/", EVIL, "POST"),
    ):
        assert refused.status_code == 403
        assert "Access-Control-Allow-Origin" not in refused.headers
    answer = requests.options(ec2_url(cloud), headers={"Origin": EVIL}, timeout=10)
    assert answer.status_code == 400
    assert "Access-Control-Allow-Origin" not in answer.headers


def send_form(made: dict[str, Any], origin: str = EVIL, **changes: str) -> requests.Response:
    fields = {**made["fields"], **changes}
    return requests.post(
        made["url"], data=fields, files={"file": ("f", b"uploaded")}, headers={"Origin": origin}, timeout=10
    )


def test_a_signed_form_uploads_and_an_altered_one_does_not(cloud: CloudProcess, s3: Any) -> None:
    made = s3.generate_presigned_post("forms", "a/one", ExpiresIn=60)
    page = CORS["AllowedOrigins"][0]
    taken = send_form(made, page)
    assert taken.status_code == 204
    assert taken.headers["Access-Control-Allow-Origin"] == page
    assert s3.get_object(Bucket="forms", Key="a/one")["Body"].read() == b"uploaded"
    assert send_form(made, key="a/two").status_code == 403
    assert send_form(made, **{"x-amz-signature": "0" * 64}).status_code == 403
    assert send_form({**made, "url": f"{s3_url(cloud)}/private"}).status_code == 403
    assert send_form({**made, "url": f"{made['url']}?delete"}).status_code == 403
    unsigned = requests.post(f"{s3_url(cloud)}/forms", data={"key": "x"}, files={"file": b"x"}, timeout=10)
    assert unsigned.status_code == 403
    late = s3.generate_presigned_post("forms", "a/late", ExpiresIn=-1)
    assert send_form(late).status_code == 403
    keys = {one["Key"] for one in s3.list_objects_v2(Bucket="forms")["Contents"]}
    assert keys == {"photo", "a/one"}


def test_a_signed_address_reads_one_object(cloud: CloudProcess, s3: Any) -> None:
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "private", "Key": "photo"}, ExpiresIn=60)
    answer = requests.get(url, headers={"Origin": EVIL}, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"a photo")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert requests.get(url.replace("/private/", "/forms/"), timeout=10).status_code == 403
    assert requests.put(url, data=b"other", timeout=10).status_code == 403


def test_the_error_is_the_one_that_the_service_gives(cloud: CloudProcess) -> None:
    def code(service: str, call: str, **wrong: str) -> str:
        url = s3_url(cloud) if service != "ec2" else ec2_url(cloud)
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", **wrong}
        client: Any = boto3.client(service, endpoint_url=url, region_name="us-east-1", **keys)
        with pytest.raises(ClientError) as found:
            getattr(client, call)()
        return str(found.value.response["Error"]["Code"])

    owner = {"aws_access_key_id": cloud.env["AWS_ACCESS_KEY_ID"]}
    assert code("s3", "list_buckets") == "InvalidAccessKeyId"
    assert code("s3", "list_buckets", **owner) == "SignatureDoesNotMatch"
    assert code("sqs", "list_queues") == "InvalidClientTokenId"
    assert code("sqs", "list_queues", **owner) == "SignatureDoesNotMatch"
    assert code("dynamodb", "list_tables") == "UnrecognizedClientException"
    assert code("ec2", "describe_instances") == "AuthFailure"


def test_a_socket_that_speaks_of_web_sockets_is_closed(cloud: CloudProcess) -> None:
    address = urlsplit(s3_url(cloud))
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as sock:
        sock.sendall(
            f"GET / HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b"403" in sock.recv(1000)


def test_a_restarted_cloud_takes_the_keys_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_CLOUD_ACCESS_KEY_ID", "AKIAGIVEN")
    monkeypatch.setenv("LOCAL_CLOUD_SECRET_ACCESS_KEY", "given")
    with running_cloud(tmp_path / "state") as again:
        assert again.env["AWS_ACCESS_KEY_ID"] == "AKIAGIVEN"
        assert again.client("s3").list_buckets()["Buckets"] == []
        assert again.ec2.describe_instances()["Reservations"] == []
