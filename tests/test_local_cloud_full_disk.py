"""A full disk: what cannot be kept is refused, and what was accepted outlives a kill -9."""

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from botocore.exceptions import ClientError

from benchmarks.running.small_disk import SmallDisk, small_disk
from tests.hostile_fixtures import HostileServices, hostile_services
from tests.waiting import until

KILOBYTES = 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "cloud" / "services") as mounted:
        yield mounted


@pytest.fixture
def services(disk: SmallDisk, tmp_path: Path) -> Iterator[HostileServices]:
    with hostile_services(tmp_path, None) as running:
        running.client("s3").create_bucket(Bucket="photos")
        yield running


def put(services: HostileServices, key: str, body: bytes) -> tuple[int, str]:
    """Status and error code of a PUT."""
    try:
        services.client("s3").put_object(Bucket="photos", Key=key, Body=body)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    return 200, ""


def get(services: HostileServices, key: str) -> bytes:
    return bytes(services.client("s3").get_object(Bucket="photos", Key=key)["Body"].read())


def keys(services: HostileServices) -> set[str]:
    return {one["Key"] for one in services.client("s3").list_objects_v2(Bucket="photos").get("Contents", ())}


def kill_and_start_again(services: HostileServices) -> None:
    os.kill(int((services.folder.cloud / "ministack.pid").read_text()), signal.SIGKILL)
    select.select([services.process.ended], [], [], 20)
    services.process.start_again()
    services.process.wait_until_ready()


def body_of(number: int) -> bytes:
    return bytes([number]) * 300 * KILOBYTES


def test_what_is_accepted_on_a_disk_that_fills_survives_kill_9(services: HostileServices, disk: SmallDisk) -> None:
    disk.fill(leave=1000 * KILOBYTES)
    answers = {f"batch/{number}.jpg": put(services, f"batch/{number}.jpg", body_of(number)) for number in range(6)}
    accepted = {key for key, (status, _) in answers.items() if status == 200}
    assert 1 <= len(accepted) <= 3
    assert {answer for key, answer in answers.items() if key not in accepted} == {(507, "InsufficientStorage")}
    assert keys(services) == accepted

    kill_and_start_again(services)
    assert keys(services) == accepted
    for number, key in enumerate(answers):
        if key in accepted:
            assert get(services, key) == body_of(number)

    disk.empty()
    for number, key in enumerate(answers):
        assert put(services, key, body_of(number)) == (200, "")
    kill_and_start_again(services)
    assert keys(services) == set(answers)


def test_a_refused_overwrite_leaves_what_was_there(services: HostileServices, disk: SmallDisk) -> None:
    assert put(services, "kept.jpg", b"before") == (200, "")
    disk.fill()
    assert put(services, "kept.jpg", body_of(1)) == (507, "InsufficientStorage")
    assert get(services, "kept.jpg") == b"before"
    kill_and_start_again(services)
    assert get(services, "kept.jpg") == b"before"


def test_a_form_upload_and_a_copy_are_refused_as_well(services: HostileServices, disk: SmallDisk) -> None:
    s3 = services.client("s3", signature_version="s3v4")  # a form is signed by an older version otherwise
    form = s3.generate_presigned_post("photos", "form.jpg")
    assert put(services, "large.jpg", body_of(1)) == (200, "")
    disk.fill()
    with pytest.raises(ClientError) as refused:
        s3.copy_object(Bucket="photos", Key="copy.jpg", CopySource="photos/large.jpg")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 507
    reply = requests.post(form["url"], data=form["fields"], files={"file": body_of(1)}, timeout=30)
    assert (reply.status_code, "InsufficientStorage" in reply.text) == (507, True)
    assert keys(services) == {"large.jpg"}


def test_no_draft_stays_on_a_full_disk(services: HostileServices, disk: SmallDisk) -> None:
    disk.fill(leave=100 * KILOBYTES)
    assert put(services, "large.jpg", body_of(1))[0] == 507
    assert list(disk.path.rglob("*.jpg*")) == []
    assert disk.free > 50 * KILOBYTES


def test_a_queue_that_cannot_be_kept_is_refused_and_messages_are_written_once_there_is_space(
    services: HostileServices, disk: SmallDisk
) -> None:
    sqs = services.client("sqs")
    url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    disk.fill()
    with pytest.raises(ClientError) as refused:
        sqs.create_queue(QueueName="more")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 507
    sqs.send_message(QueueUrl=url, MessageBody="kept " + "x" * 9000)

    state = services.folder.services / "state" / "sqs.json"
    until(lambda: "in memory alone" in (services.folder.logs / "ministack.log").read_text())
    assert "kept" not in state.read_text()
    disk.empty()
    until(lambda: "kept" in state.read_text())
    kill_and_start_again(services)
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"].startswith("kept")
