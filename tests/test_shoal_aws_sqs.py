"""SQS beyond the port's contract: queues do not wait for one another."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import boto3.session
import pytest
from botocore.config import Config

from shoal.aws import check_last_net, prepare
from shoal.aws.clients import Service
from shoal.aws.sqs import SqsQueue
from shoal.errors import NotFound, Permanent, Retryable
from shoal.settings import load

DEADLINE_SECONDS = 20.0


def client(url: str | None = None) -> Any:
    once = Config(retries={"total_max_attempts": 1})
    return boto3.session.Session().client("sqs", endpoint_url=url, config=once)


@contextmanager
def silence() -> Iterator[tuple[str, socket.socket]]:
    """A server that takes calls and never answers: its URL, and its socket."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(DEADLINE_SECONDS)
        yield f"http://127.0.0.1:{server.getsockname()[1]}", server


@pytest.mark.usefixtures("embedded_cloud")
def test_a_queue_that_is_away_does_not_hold_up_another() -> None:
    with ThreadPoolExecutor(2) as threads:
        with silence() as (url, server):
            away = threads.submit(getattr, SqsQueue(Service("sqs", client(url)), "away"), "url")
            connection, _ = server.accept()  # now it waits for an answer
            near = threads.submit(getattr, SqsQueue(Service("sqs", client()), "nonesuch"), "url")
            with pytest.raises(NotFound):
                near.result(DEADLINE_SECONDS)
            assert not away.done()
        connection.close()
        with pytest.raises(Retryable):
            away.result(DEADLINE_SECONDS)


@pytest.mark.usefixtures("embedded_cloud")
def test_a_queue_of_an_older_shoal_gets_the_number_of_deliveries_that_lost_machines_do_not_use_up() -> None:
    chosen = load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}"})
    prepare(chosen)
    url = client().get_queue_url(QueueName=chosen.req_queue)["QueueUrl"]
    policy = json.loads(
        client().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["RedrivePolicy"]
    )
    old = json.dumps(policy | {"maxReceiveCount": 5})
    client().set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": old})
    with pytest.raises(Permanent, match="after 5 deliveries instead of 100"):
        check_last_net(chosen)
    prepare(chosen)
    assert check_last_net(chosen) == "after 100 deliveries"
