"""Every program acts in the role that is shipped for it: what it calls is allowed, and what is allowed is called.

The embedded cloud enforces the policies of `ami/` as AWS does, and notes which statements have allowed something.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from app_tier.heartbeat import Heartbeat
from app_tier.terminate import TerminateWatch
from app_tier.watcher import Progress
from benchmarks.running.plant import ControllerProcess, Plant
from benchmarks.running.ports import free_port
from benchmarks.running.system import ROOT
from controller.sweeper import DAY_SECONDS, Sweeper
from runs.handling import Handling
from runs.orders import read_order
from runs.run import Run
from runs.steering import Steering
from shoal import aws, dead_letters
from shoal.aws import clients, put_metrics
from shoal.aws.autoscaling import AutoScalingPool
from shoal.aws.clients import client, our_errors
from shoal.aws.iam import policy_document
from shoal.buckets import deleted_batches, suspects
from shoal.buckets.deleted_batches import DeletedBatches
from shoal.buckets.result_store import store_result
from shoal.errors import Permanent
from shoal.folders import folder
from shoal.lifecycle import StopSignal
from shoal.memory import ManualClock
from shoal.messages import Job, Result, new_batch
from shoal.ports import Cloud
from shoal.settings import load
from tests.aws_session import forget_session
from tests.policy_fixtures import granted, used
from tests.waiting import until
from tests.web_fixtures import jpeg

PREFIX = "chaos"  # the plant's
# What is granted, never called, and needed.
UNUSED = {
    ("TellAMissingPhotoFromAForbiddenOne", "s3:ListBucket"): "without it S3 answers 403 for a photo that is not there",
}
EMPTY_SOURCE = f"s3://{PREFIX}-out-bucket/runs/nothing/"  # workers may list it, without `shoal prepare --read`
DENIED = ("AccessDenied", "UnauthorizedOperation", "not authorized")
ROLES = {f"{PREFIX}-{one}": folder("ami") / f"{one}-policy.json" for one in ("controller", "web", "worker")}


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    settings = {"MAX_INSTANCES": 2, "QOS": 1, "CLOUDWATCH": "put", "SWEEP_SECONDS": 1}
    with Plant(tmp_path_factory.mktemp("plant"), controllers=0, **settings) as plant:
        iam = plant.client("iam")
        for name in (f"{PREFIX}-controller", f"{PREFIX}-web"):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.put_role_policy(
                RoleName=name, PolicyName="shoal", PolicyDocument=policy_document(ROLES[name], PREFIX, "aws")
            )
        yield plant


@contextmanager
def web(plant: Plant) -> Iterator[str]:
    port, state = free_port(), plant.folder / "web"
    state.mkdir()
    own = {"SHOAL_PORT": str(port), "SHOAL_STATE_DIR": str(state), "SHOAL_RUN_SOURCES": EMPTY_SOURCE}
    environment = plant.environment_of(f"{PREFIX}-web") | own
    with (state / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "web_tier"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{url}/readyz") or process.poll() is not None, 90)
        assert process.poll() is None, (state / "web.log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def acting(plant: Plant, name: str, max_instances: Callable[[], int] | None = None, **settings: str) -> Iterator[Cloud]:
    """The ports as a program in this role has them."""
    with pytest.MonkeyPatch.context() as patch:
        environment = plant.environment_of(name)
        for variable in (one for one in environment if one.startswith("AWS_")):
            patch.setenv(variable, environment[variable])
        forget_session(patch)
        patch.setattr(clients, "_variables", {})
        own = {f"SHOAL_{variable}": value for variable, value in settings.items()}
        yield aws.connect(load(environment | own), lambda: "#!/bin/sh\nexec sleep 600\n", max_instances)


@pytest.fixture(scope="module")
def worked(plant: Plant) -> Plant:
    """A web process, a controller and its workers have labelled photos, and the pool is at zero again."""
    controller = ControllerProcess("one", plant.folder / "one", plant.environment_of(f"{PREFIX}-controller"))
    controller.start()
    try:
        with web(plant) as url:
            files = [("inputFile", (f"{number}.jpg", jpeg((number, 9, 9)))) for number in range(6)]
            reply = requests.post(f"{url}/v1/batches", files=files, timeout=60)
            assert reply.status_code == 202, reply.text
            address = f"{url}/v1/batches/{reply.json()['batch']}"
            until(lambda: requests.get(address, timeout=10).json()["state"] == "done", 90)
            assert answers(f"{url}/fleet")
            asked = {"source": EMPTY_SOURCE}
            run = requests.post(f"{url}/v1/runs", json=asked, timeout=60)
            assert run.status_code == 201, run.text
            page = f"{url}{run.headers['Location']}"
            until(lambda: requests.get(page, timeout=10).json()["state"] == "done", 90)
        assert plant.settle() == []
    finally:
        controller.stop()
    return plant


def test_programs_in_their_roles_label_grow_and_shrink(worked: Plant) -> None:
    logs = [*worked.folder.glob("*/*.log"), *worked.folder.glob("cloud/instances/*/console.log")]
    assert len(logs) >= 4
    for log in logs:
        assert not any(word in log.read_text(errors="replace") for word in DENIED), log.read_text(errors="replace")


@pytest.fixture(scope="module")
def seldom(worked: Plant) -> Plant:
    """Dead letters, requests that were not accepted, old records, a lost table, terminate messages, a group."""
    plant = worked
    forgotten, dead, cancelled = (Job(new_batch(time.time()), number, "x.jpg", "") for number in range(3))
    with acting(plant, f"{PREFIX}-web") as cloud:
        plant.bury("not one of ours", dead.to_json())
        assert len(dead_letters.look(cloud)) == 2
        assert dead_letters.redrive(cloud) == 1
        cloud.outputs.put(f"pending/{forgotten.batch}/00000", b'{"last": 9}', "application/json")
        for name in ("idempotency/old", "sessions/old"):
            cloud.outputs.put(name, b"{}", "application/json")
        for name in (forgotten.key, "-probe/old"):
            cloud.inputs.put(name, b"x", "image/jpeg")
        store_result(cloud.outputs, Result.failed(cancelled.key, "cancelled"))
        gone = Job(new_batch(time.time()), 0, "x.jpg", "")
        for store in (cloud.inputs, cloud.outputs):
            store.put(gone.key, b"x", "image/jpeg")
        deleted_batches.mark(cloud.outputs, gone.batch)
        assert deleted_batches.purge(cloud.inputs, cloud.outputs, gone.batch) == 1
    with acting(plant, f"{PREFIX}-worker") as cloud:
        [message] = cloud.requests.receive(1, 5)
        beating = Heartbeat(cloud.requests, 30)
        beating.hold(message.receipt)
        beating.step()
        cloud.requests.delete([message.receipt])
        store_result(cloud.outputs, Result(cancelled.key, "done"))
        suspects.count(cloud.outputs, forgotten.key)
        assert gone.batch in DeletedBatches(cloud.outputs)
        run = Run(new_batch(time.time()), "s3://photos", f"{PREFIX}-out-bucket", "runs/none/")
        Steering(cloud).start(run)
        [message] = cloud.bulk.receive(1, 5)
        cloud.bulk.extend([message.receipt], 30)
        assert Handling(cloud, lambda *_: None).handle(read_order(message.body))
        cloud.bulk.delete([message.receipt])
    most = 2
    with acting(plant, f"{PREFIX}-controller", lambda: most, ACTUATOR="autoscaling") as cloud:
        pool = cloud.pool
        assert isinstance(pool, AutoScalingPool)
        pool.launch(["a", "b"], pool.token(2))
        until(lambda: len(pool.describe()) == 2)
        most = 3
        pool.launch(["c"], pool.token(1))
        until(lambda: len(pool.describe()) == 3)
        ids = [one.id for one in pool.describe()]
        pool.drain(ids[:1])
        pool.terminate(ids)
        cloud.terminations.send(["terminate"])
        plant.bury("not one of ours", dead.to_json())
        Sweeper(cloud, ManualClock(time.time() + 2 * DAY_SECONDS), "", 60, 4).sweep()
        cloud.register.forget(["i-1"])
        put_metrics(PREFIX, {})({"Backlog": 1.0})
        plant.client("dynamodb").delete_table(TableName=f"{PREFIX}-pool")
        assert cloud.lease.take("me", 10)
    with acting(plant, f"{PREFIX}-worker") as cloud, StopSignal() as stop:
        TerminateWatch(cloud.terminations, cast("Progress", SimpleNamespace()), stop, 60).look(5)
        assert stop.stopping
    return plant


@pytest.mark.parametrize("name", ROLES)
def test_what_is_granted_is_used(seldom: Plant, name: str) -> None:
    """A permission that nothing uses goes, or gets its reason in UNUSED."""
    unused = granted(ROLES[name]) - used(seldom.folder, name)
    assert unused == {one for one in UNUSED if one in granted(ROLES[name])}


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("controller", lambda ec2, _: ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)),
        ("controller", lambda ec2, one: ec2.terminate_instances(InstanceIds=[one])),
        ("controller", lambda ec2, one: ec2.create_tags(Resources=[one], Tags=[{"Key": "shoal:drain", "Value": "x"}])),
        ("web", lambda ec2, one: ec2.terminate_instances(InstanceIds=[one])),
    ],
    ids=["launch without the pool's tag", "end of others", "drain of others", "web tier"],
)
def test_the_roles_are_enforced(plant: Plant, others: str, name: str, call: Callable[[Any, str], object]) -> None:
    with (
        acting(plant, f"{PREFIX}-{name}"),
        pytest.raises(Permanent, match=r"UnauthorizedOperation|AccessDenied"),
        our_errors("call"),
    ):
        call(client("ec2"), others)


@pytest.fixture(scope="module")
def others(plant: Plant) -> str:
    """An instance of somebody else."""
    [image] = plant.ec2.describe_images(Owners=["self"])["Images"]
    made = plant.ec2.run_instances(ImageId=image["ImageId"], MinCount=1, MaxCount=1, InstanceType="t3.micro")
    return str(made["Instances"][0]["InstanceId"])
