"""Buckets, queues and tables outlive every end of the processes that keep them, the orderly and the other ones."""

import os
import select
import signal
from pathlib import Path
from typing import Any

from tests.hostile_fixtures import hostile_services
from tests.local_cloud_fixtures import CloudProcess, running_cloud
from tests.waiting import until

CREATE_TABLE: dict[str, Any] = {
    "TableName": "results",
    "AttributeDefinitions": [{"AttributeName": "key", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}


def fill(cloud: Any) -> None:
    """A bucket with an object, a queue of settings of its own with a message, a table with an item."""
    cloud.client("s3").create_bucket(Bucket="photos")
    cloud.client("s3").put_object(Bucket="photos", Key="batch/0/ä.jpg", Body=b"bytes")
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "77"})["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="kept")
    cloud.client("dynamodb").create_table(**CREATE_TABLE)
    cloud.client("dynamodb").put_item(TableName="results", Item={"key": {"S": "tabby"}})


def check(cloud: Any) -> None:
    """What `fill` made is there."""
    assert cloud.client("s3").get_object(Bucket="photos", Key="batch/0/ä.jpg")["Body"].read() == b"bytes"
    sqs = cloud.client("sqs")
    url = sqs.get_queue_url(QueueName="jobs")["QueueUrl"]
    assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["VisibilityTimeout"] == "77"
    assert [one["Body"] for one in sqs.receive_message(QueueUrl=url)["Messages"]] == ["kept"]
    assert cloud.client("dynamodb").scan(TableName="results")["Items"] == [{"key": {"S": "tabby"}}]


def wait_until_written(cloud: CloudProcess) -> None:
    """Until the state on disk tells of what `fill` did last: that takes a second, or a little longer when busy."""
    state = cloud.state_dir / "cloud" / "services" / "state"
    until(lambda: "kept" in (state / "sqs.json").read_text() and "tabby" in (state / "dynamodb.json").read_text())


def ministack(cloud: CloudProcess) -> int:
    """The process id of ministack itself, below its init; 0 while there is none."""
    init = cloud.pid_in("ministack.pid")
    try:
        children = Path(f"/proc/{init}/task/{init}/children").read_text().split()
    except FileNotFoundError:
        return 0
    return int(children[0]) if children else 0


def test_an_orderly_stop_keeps_everything(tmp_path: Path) -> None:
    with hostile_services(tmp_path, None) as services:
        fill(services)
    with hostile_services(tmp_path, None) as services:
        check(services)


def test_queues_do_not_depend_on_the_port(tmp_path: Path) -> None:
    """Three starts, three ports: one queue of the name, with the messages of all."""
    ports = set()
    for number in range(3):
        with hostile_services(tmp_path, None) as services:
            ports.add(services.process.url)
            sqs = services.client("sqs")
            url = sqs.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
            assert sqs.list_queues()["QueueUrls"] == [url]
            assert url.startswith(services.process.url)
            sqs.send_message(QueueUrl=url, MessageBody=str(number))
            count = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            assert count["ApproximateNumberOfMessages"] == str(number + 1)
    assert len(ports) == 3


def test_leftovers_at_old_addresses_become_one_queue(tmp_path: Path) -> None:
    with hostile_services(tmp_path, None) as services:
        for name in ("jobs", "jobz"):
            url = services.client("sqs").create_queue(QueueName=name)["QueueUrl"]
            services.client("sqs").send_message(QueueUrl=url, MessageBody=name)
    state = tmp_path / "cloud" / "services" / "state" / "sqs.json"
    # As an earlier version left it: the queue of an earlier start beside the one of the last.
    old, new = services.process.url, "http://127.0.0.1:1"
    renamed = state.read_text().replace(f"{old}/123456789012/jobz", f"{new}/123456789012/jobs")
    state.write_text(renamed.replace('"name": "jobz"', '"name": "jobs"'))
    with hostile_services(tmp_path, None) as services:
        sqs = services.client("sqs")
        [url] = sqs.list_queues()["QueueUrls"]
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        assert {one["Body"] for one in found} == {"jobs", "jobz"}


def test_a_queue_or_table_is_on_disk_before_its_making_is_answered(tmp_path: Path) -> None:
    with hostile_services(tmp_path, None) as services:
        services.client("sqs").create_queue(QueueName="jobs")
        services.client("dynamodb").create_table(**CREATE_TABLE)
        os.kill(int((services.folder.cloud / "ministack.pid").read_text()), signal.SIGKILL)
        select.select([services.process.ended], [], [], 20)
        services.process.start_again()
        assert services.client("sqs").get_queue_url(QueueName="jobs")
        assert services.client("dynamodb").list_tables()["TableNames"] == ["results"]


def test_ministack_killed_is_started_again_and_its_callers_notice_little(tmp_path: Path) -> None:
    with running_cloud(tmp_path) as cloud:
        fill(cloud)
        wait_until_written(cloud)
        killed = ministack(cloud)
        os.kill(killed, signal.SIGKILL)
        check(cloud)
        assert until(lambda: ministack(cloud)) != killed
        assert cloud.process.poll() is None
        status, errors = cloud.close()
    assert status == 0
    assert errors.count("ministack (S3, SQS and friends) had died and is started again") == 1


def test_ministack_killed_again_and_again_is_given_up_with_a_line_that_says_so(tmp_path: Path) -> None:
    with running_cloud(tmp_path) as cloud:
        killed = 0
        for _ in range(4):
            killed = until(lambda before=killed: (found := ministack(cloud)) != before and found)  # type: ignore[misc]
            os.kill(killed, signal.SIGKILL)
        assert cloud.process.wait(20) == 1
        _, errors = cloud.close()
    assert "ministack (S3, SQS and friends) has died 4 times within 60 s, so it is not started again" in errors
    assert str(tmp_path / "logs" / "ministack.log") in errors
    assert cloud.processes() == []
    assert not (tmp_path / "env").exists()


def test_the_host_killed_takes_all_with_it_and_the_next_one_has_what_was_there(tmp_path: Path) -> None:
    with running_cloud(tmp_path) as cloud:
        fill(cloud)
        wait_until_written(cloud)
        cloud.process.kill()
        cloud.process.wait()
        until(lambda: cloud.processes() == [], seconds=5)
    with running_cloud(tmp_path) as cloud:
        check(cloud)


def test_objects_are_there_again_whatever_their_keys(tmp_path: Path) -> None:
    """An earlier version of this cloud put objects at paths like their keys: those are found, written and removed."""
    keys = {"batch/0/ä.jpg", f"long/{'x' * 900}", "a//b/", "sha256-key", "100 %2F.jpg", "old/0/a.jpg", "old/1/b.jpg"}
    with hostile_services(tmp_path, None) as services:
        s3 = services.client("s3")
        s3.create_bucket(Bucket="photos")
        for key in keys:
            s3.put_object(Bucket="photos", Key=key, Body=key.encode())
    [bucket] = tmp_path.rglob("photos")
    for key in ("old/0/a.jpg", "old/1/b.jpg"):
        [content] = [one for one in bucket.rglob(f"*{key.rpartition('/')[2][0]}%2Ejpg") if one.is_file()]
        (bucket / key).parent.mkdir(parents=True)
        content.with_name(f"{content.name}.meta.json").rename(bucket / f"{key}.meta.json")
        content.rename(bucket / key)

    with hostile_services(tmp_path, None) as services:
        s3 = services.client("s3")
        assert {one["Key"] for one in s3.list_objects_v2(Bucket="photos")["Contents"]} == keys
        for key in keys:
            assert s3.get_object(Bucket="photos", Key=key)["Body"].read() == key.encode()
        s3.put_object(Bucket="photos", Key="old/0/a.jpg", Body=b"again")
        s3.delete_object(Bucket="photos", Key="old/1/b.jpg")
        s3.delete_object(Bucket="photos", Key="a//b/")

    with hostile_services(tmp_path, None) as services:
        s3 = services.client("s3")
        assert {one["Key"] for one in s3.list_objects_v2(Bucket="photos")["Contents"]} == keys - {
            "old/1/b.jpg",
            "a//b/",
        }
        assert s3.get_object(Bucket="photos", Key="old/0/a.jpg")["Body"].read() == b"again"
