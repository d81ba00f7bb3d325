"""The venue `lambda` on a running embedded cloud: real events, a real function in its role, the real model."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inference import process
from shoal import aws, settings
from shoal.aws.label_tables import ERROR, IMAGE, ORDER
from shoal.errors import NotFound
from shoal.messages import Job, Result, new_batch
from shoal.ports import Cloud
from tests.inference_fixtures import EXAMPLES, MAX_BYTES, MAX_PIXELS, PHOTOS, ROOT, cache_dir
from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud
from tests.policy_fixtures import granted, used
from tests.waiting import until

DEADLINE_SECONDS = 120.0
DONE: dict[str, Any] = {"batchItemFailures": []}
NAMES = [path.stem for path in PHOTOS]


@dataclass(frozen=True)
class LambdaVenue:
    """A cloud with the function in it. chosen: its settings."""

    cloud: CloudProcess
    chosen: settings.Settings
    ports: Cloud

    def put(self, name: str, photo: bytes) -> str:
        key = f"lambda/{name}"
        self.ports.inputs.put(key, photo, "image/jpeg")
        return key

    def url(self, key: str) -> str:
        return f"s3://{self.chosen.in_bucket}/{key}"

    def result(self, key: str) -> Result:
        def stored() -> Result | None:
            try:
                return Result.from_json(self.ports.outputs.get(key).decode())
            except NotFound:
                return None

        found = until(stored, DEADLINE_SECONDS)
        assert found is not None
        return found

    def item(self, key: str) -> dict[str, Any]:
        """The photo's item in the images table."""
        table, wanted = self.chosen.images_table, {IMAGE: {"S": self.url(key)}}

        def stored() -> dict[str, Any]:
            item: dict[str, Any] = self.cloud.client("dynamodb").get_item(TableName=table, Key=wanted).get("Item", {})
            return item

        return until(stored, DEADLINE_SECONDS)

    def rows(self, key: str) -> list[dict[str, Any]]:
        """The photo's items in the labels table."""
        pages = self.cloud.client("dynamodb").get_paginator("scan").paginate(TableName=self.chosen.labels_table)
        return [item for page in pages for item in page["Items"] if item[IMAGE]["S"] == self.url(key)]

    def failed_events(self) -> list[dict[str, Any]]:
        """Takes them from the queue of failed events."""
        sqs = self.cloud.client("sqs")
        url = sqs.get_queue_url(QueueName=self.chosen.function_failed_queue)["QueueUrl"]
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for one in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
        return [json.loads(one["Body"]) for one in messages]

    def invoke(self, *objects: dict[str, Any]) -> dict[str, Any]:
        """Invoke the function with an event of these objects; its answer."""
        bucket = {"name": self.chosen.in_bucket}
        records = [
            {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": bucket, "object": one}}
            for one in objects
        ]
        return self.invoke_with({"Records": records})

    def invoke_with(self, event: dict[str, Any]) -> dict[str, Any]:
        answer = self.cloud.client("lambda").invoke(FunctionName=self.chosen.function, Payload=json.dumps(event))
        body: dict[str, Any] = json.loads(answer["Payload"].read())
        return body

    def shoal(self, *words: str) -> str:
        run = self.run(*words)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shoal_cli", *words],
            cwd=ROOT,
            env={**os.environ, "SHOAL_STATE_DIR": str(self.cloud.state_dir)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )


UNUSED = {
    ("TellAMissingPhotoFromAForbiddenOne", "s3:ListBucket"): "without it S3 answers 403 for a photo that is not there",
    ("KeepFailedEvents", "sqs:SendMessage"): "Lambda itself sends them, with the rights of the role",
    ("WriteLogs", "logs:CreateLogGroup"): "Lambda itself writes them, with the rights of the role",
    ("WriteLogs", "logs:CreateLogStream"): "the same",
    ("WriteLogs", "logs:PutLogEvents"): "the same",
}


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaVenue]:
    cache_dir()
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    with running_cloud(folder / "state", "--image", f"base={image}") as cloud:
        environment = {**os.environ, "SHOAL_STATE_DIR": str(cloud.state_dir)}
        chosen = settings.load_with_env_file(environment)
        made = LambdaVenue(cloud, chosen, aws.connect(chosen))
        run = made.run("find", "bus")
        assert run.returncode == 1
        assert run.stderr.endswith("`shoal prepare --venue lambda` makes it\n")
        for _ in range(2):  # it is safe to repeat
            told = made.shoal("prepare", "--venue", "lambda")
        assert "shoal-lambda: labels what is stored under lambda/" in told
        assert "nothing on this machine; would cost" in told
        yield made


def photo(name: str) -> bytes:
    return (EXAMPLES / f"{name}.jpg").read_bytes()


def test_a_stored_photo_is_labelled_as_a_worker_labels_it(venue: LambdaVenue) -> None:
    recogniser = process.load(["resnet50"], "openvino", cache_dir(), None, MAX_PIXELS, MAX_BYTES)
    for path in PHOTOS:
        venue.put(path.name, path.read_bytes())
    for path in PHOTOS:
        key = f"lambda/{path.name}"
        expected = process.process(recogniser, Job("", 0, path.name, ""), path.read_bytes())
        found = venue.result(key)
        assert found.worker == venue.chosen.function
        assert set(found.seconds) == {"fetch", "decode", "infer"}
        same = dataclasses.replace(expected, key=key, worker=found.worker, seconds=found.seconds)
        assert found == same
        labels = {name: float(value["N"]) for name, value in venue.item(key).items() if name not in (IMAGE, ORDER)}
        assert labels == {one.name: round(one.probability, 6) for one in found.labels}


def test_the_photos_of_a_label_come_the_surest_first(venue: LambdaVenue) -> None:
    keys = [venue.put(f"find/{name}.jpg", photo(name)) for name in NAMES]
    best: dict[str, str] = {}
    for key in keys:
        venue.item(key)
        best[venue.result(key).label] = key
    for label, key in best.items():
        lines = venue.shoal("find", label.replace("_", " ")).splitlines()
        shown = [float(line.split()[0]) for line in lines]
        assert shown == sorted(shown, reverse=True)
        assert any(line.endswith(venue.url(key)) for line in lines)
    assert venue.shoal("find", label, "--limit", "1").splitlines() == lines[:1]
    query = {
        "KeyConditionExpression": "label = :label",
        "ExpressionAttributeValues": {":label": {"S": label}},
        "ScanIndexForward": False,
    }
    items = venue.cloud.client("dynamodb").query(TableName=venue.chosen.labels_table, **query)["Items"]
    assert [one[IMAGE]["S"] for one in items] == [line.split()[1] for line in lines]
    assert venue.shoal("find", "no such label").startswith("no photo has the label no such label: ")
    used = json.loads(venue.shoal("status", "--json"))["function"]
    assert used["photos_in_a_day"] >= len(NAMES)
    assert 0 < used["dollars"] < 0.01
    assert " photos, would cost under a cent (" in venue.shoal("status")


@pytest.mark.parametrize("name", ["a+b.jpg", "100%.jpg", "two words.jpg", "%2B.jpg", "Straße 猫.jpg"])
def test_a_key_may_hold_any_character(venue: LambdaVenue, name: str) -> None:
    key = venue.put(name, photo(NAMES[0]))
    assert venue.result(key).key == key
    assert venue.item(key)[IMAGE]["S"] == venue.url(key)


def test_an_event_that_comes_twice_changes_nothing(venue: LambdaVenue) -> None:
    key = venue.put("twice.jpg", photo(NAMES[0]))
    before = venue.item(key)
    again = {"key": key, "size": len(photo(NAMES[0])), "sequencer": before[ORDER]["S"]}
    assert venue.invoke(again) == {"batchItemFailures": []}
    assert venue.item(key) == before
    assert len(venue.rows(key)) == len(before) - 2


def test_a_photo_that_changes_keeps_no_old_label(venue: LambdaVenue) -> None:
    key = venue.put("changes.jpg", photo(NAMES[0]))
    first = venue.item(key)
    venue.put("changes.jpg", photo(NAMES[1]))
    until(lambda: venue.item(key) != first, DEADLINE_SECONDS)
    second = venue.item(key)
    labels = {name for name in second if name not in (IMAGE, ORDER)}
    assert {row["label"]["S"] for row in venue.rows(key)} == labels
    until(lambda: labels == {one.name for one in venue.result(key).labels}, DEADLINE_SECONDS)  # after the tables
    # The first event comes once more, late.
    assert venue.invoke({"key": key, "size": 1, "sequencer": first[ORDER]["S"]}) == {"batchItemFailures": []}
    assert venue.item(key) == second
    # That was all that the function can do: what is granted besides has a reason.
    policy = ROOT / "ami" / "lambda-policy.json"
    assert granted(policy) - used(venue.cloud.state_dir, venue.chosen.function) == UNUSED.keys()


def test_a_file_that_is_no_photo_says_why(venue: LambdaVenue) -> None:
    key = venue.put("words.jpg", b"these are words")
    found = venue.result(key)
    assert (found.status, found.bad_photo) == ("failed", True)
    assert venue.item(key)[ERROR]["S"] == found.error
    large = "lambda/large.jpg"
    assert venue.invoke({"key": large, "size": venue.chosen.max_file_bytes + 1, "sequencer": "1"}) == DONE
    assert "are accepted" in venue.result(large).error
    assert venue.invoke({"key": "lambda/empty.jpg", "size": 0, "sequencer": "1"}) == DONE
    assert venue.result("lambda/empty.jpg").error == "the file is empty"


def test_a_photo_that_is_gone_says_so_and_loses_no_label(venue: LambdaVenue) -> None:
    assert venue.invoke({"key": "lambda/gone.jpg", "size": 9, "sequencer": "1"}) == DONE
    assert venue.result("lambda/gone.jpg").error == "the photo is no longer in the input bucket"
    key = venue.put("labelled-then-gone.jpg", photo(NAMES[0]))
    item, result = venue.item(key), venue.result(key)
    venue.ports.inputs.delete(key)
    assert venue.invoke({"key": key, "size": 9, "sequencer": item[ORDER]["S"]}) == DONE
    assert (venue.item(key), venue.result(key)) == (item, result)


def test_folders_deletions_and_photos_of_the_pool_are_passed_over(venue: LambdaVenue) -> None:
    pool = Job(new_batch(time.time()), 0, "cat.jpg", "").key
    assert venue.invoke({"key": "lambda/folder/", "size": 0}, {"key": pool, "size": 9}) == DONE
    assert venue.invoke_with({"Event": "s3:TestEvent", "Bucket": venue.chosen.in_bucket}) == DONE
    for key in ("lambda/folder/", pool):
        with pytest.raises(NotFound):
            venue.ports.outputs.get(key)


def test_of_several_records_only_the_wrong_one_fails(venue: LambdaVenue) -> None:
    key = "lambda/beside.jpg"
    answer = venue.invoke({"key": "elsewhere/cat.jpg", "size": 9}, {"key": key, "size": 9, "sequencer": "1"})
    assert "1 of 2 photos are not labelled" in answer["errorMessage"]
    assert venue.result(key).error == "the photo is no longer in the input bucket"


def test_messages_of_a_queue_fail_one_by_one(venue: LambdaVenue) -> None:
    bucket = {"name": venue.chosen.in_bucket}
    described = {"bucket": bucket, "object": {"key": "lambda/queued.jpg", "size": 9, "sequencer": "1"}}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": described}
    bodies = [json.dumps({"Records": [record]}), "words"]
    messages = [{"eventSource": "aws:sqs", "messageId": f"m{n}", "body": body} for n, body in enumerate(bodies)]
    assert venue.invoke_with({"Records": messages}) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert venue.result("lambda/queued.jpg").status == "failed"


def test_many_events_wait_for_the_concurrency_limit(venue: LambdaVenue) -> None:
    functions, name = venue.cloud.client("lambda"), venue.chosen.function
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    keys = [venue.put(f"many/{n}.jpg", photo(NAMES[n % 2])) for n in range(12)]
    for key in keys:
        assert venue.result(key).status == "done"
        venue.item(key)
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=venue.chosen.lambda_concurrency)
    assert venue.failed_events() == []


def test_it_is_a_lane_of_a_comparison_that_leaves_nothing_behind(venue: LambdaVenue, tmp_path: Path) -> None:
    for name in NAMES[:2]:
        (tmp_path / f"{name}.jpg").write_bytes(photo(name))
    told = json.loads(venue.shoal("compare", str(tmp_path), "--venue", "lambda", "--rounds", "1", "--json"))
    assert [(lane["venue"], lane["labelled"], lane["failed"]) for lane in told["lanes"]] == [("lambda", 2, 0)] * 2
    parts = told["lanes"][0]["seconds"]
    assert min(parts["wait"]["mean"], parts["inference"]["mean"], parts["transfer"]["mean"]) > 0
    assert 0 < told["costs"]["lambda"]["a_month"]["100"] < told["costs"]["lambda"]["a_month"]["1000"]
    for bucket in (venue.ports.inputs, venue.ports.outputs):
        assert list(bucket.list("lambda/compare/")) == []
    items = venue.cloud.client("dynamodb").scan(TableName=venue.chosen.images_table)["Items"]
    assert not [one for one in items if "/compare/" in one[IMAGE]["S"]]
    assert "lambda/compare/" not in venue.shoal("find", "cat")


def test_the_function_has_the_rights_of_its_role_and_no_more(venue: LambdaVenue) -> None:
    iam, name = venue.cloud.client("iam"), venue.chosen.function
    document = iam.get_role_policy(RoleName=name, PolicyName=name)["PolicyDocument"]
    less = [one for one in document["Statement"] if one["Sid"] != "ReadPhotos"]
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(document | {"Statement": less}))
    assert less != document["Statement"]
    answer = venue.invoke({"key": "lambda/forbidden.jpg", "size": 9, "sequencer": "1"})
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(document))
    assert "AccessDenied" in answer["errorMessage"]
    assert f"assumed-role/{name}/{name}" in answer["errorMessage"]


def test_an_event_waits_for_a_person_while_a_table_is_away(venue: LambdaVenue) -> None:
    venue.cloud.client("dynamodb").delete_table(TableName=venue.chosen.labels_table)
    key = venue.put("kept.jpg", photo(NAMES[0]))
    [event] = until(venue.failed_events, DEADLINE_SECONDS)
    assert event["requestPayload"]["Records"][0]["s3"]["object"]["key"] == key
    assert "prepare --venue lambda" in event["responsePayload"]["errorMessage"]
    venue.shoal("prepare", "--venue", "lambda")
    assert venue.invoke_with(event["requestPayload"]) == DONE
    assert len(venue.rows(key)) == len(venue.result(key).labels)


def test_a_call_over_the_time_limit_is_tried_again_and_then_waits_for_a_person(venue: LambdaVenue) -> None:
    function = venue.cloud.client("lambda")
    usual = function.get_function_configuration(FunctionName=venue.chosen.function)
    variables = usual["Environment"]["Variables"]

    def change(seconds: int, **more: str) -> None:
        function.update_function_configuration(
            FunctionName=venue.chosen.function, Timeout=seconds, Environment={"Variables": variables | more}
        )

    with socket.create_server(("127.0.0.1", 0)) as silent:  # an S3 that never answers
        change(1, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{silent.getsockname()[1]}")
        key = venue.put("slow.jpg", photo("cat"))
        (event,) = until(venue.failed_events, DEADLINE_SECONDS)
        assert "timed out after 1.00 seconds" in venue.invoke({"key": key})["errorMessage"]
    change(usual["Timeout"])
    assert "timed out after 1.00 seconds" in event["responsePayload"]["errorMessage"]
    assert event["requestPayload"]["Records"][0]["s3"]["object"]["key"] == key
    assert venue.invoke_with(event["requestPayload"]) == DONE  # as the docs say: nothing is lost
    assert venue.result(key).label == "Egyptian_cat"


def test_remove_takes_the_function_away_and_leaves_the_results(venue: LambdaVenue) -> None:
    key = venue.put("before.jpg", photo(NAMES[0]))
    venue.item(key)
    for _ in range(2):
        venue.shoal("prepare", "--venue", "lambda", "--remove")
    assert venue.result(key).status == "done"
    assert venue.chosen.images_table not in venue.cloud.client("dynamodb").list_tables()["TableNames"]
    rules = venue.cloud.client("s3").get_bucket_notification_configuration(Bucket=venue.chosen.in_bucket)
    assert not rules.get("LambdaFunctionConfigurations")
    assert venue.chosen.function not in [one["RoleName"] for one in venue.cloud.client("iam").list_roles()["Roles"]]
    venue.shoal("prepare", "--venue", "lambda")
    venue.put("after.jpg", photo(NAMES[1]))
    venue.item("lambda/after.jpg")
