"""How long a worker process takes from its start to its first result, and to its first batch at full speed."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.running.processes import client_of, running
from shoal.messages import Job, Result, new_batch
from shoal.settings import load

PHOTOS = 96
FULL_SPEED = 1.15  # a batch is at full speed when it takes no longer than this many times the median of the later ones
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the process to the first response, and to the end of the first batch at full speed."""

    first_result: float
    full_speed: float


def measure(cloud: Mapping[str, str], payloads: Sequence[bytes], log: Path) -> Start:
    """Start a worker on a full queue of the embedded cloud and record when its responses arrive."""
    queue = Queues(cloud)
    queue.fill(payloads[:PHOTOS])
    began = time.time()
    with running([sys.executable, "-m", "app_tier"], {**cloud, "SHOAL_ANSWER_CACHE": "0"}, log):
        arrived = queue.collect(len(payloads[:PHOTOS]))
    infers = [one.seconds["infer"] for _, one in arrived]
    steady = statistics.median(infers[len(infers) // 2 :])
    fast = next(at for at, one in arrived[1:] if 0.8 * steady <= one.seconds["infer"] <= FULL_SPEED * steady)
    return Start(arrived[0][0] - began, fast - began)


class Queues:
    """The two queues and the input bucket of a Shoal."""

    def __init__(self, cloud: Mapping[str, str]) -> None:
        self._settings = load(dict(cloud))
        self._cloud = cloud
        self._sqs, self._s3 = client_of(cloud, "sqs"), client_of(cloud, "s3")

    def fill(self, payloads: Sequence[bytes]) -> None:
        """Send photos and their messages."""
        url = self._url(self._settings.req_queue)
        batch = new_batch(time.time())
        for index, payload in enumerate(payloads):
            job = Job(batch, index, "a.jpg", self._settings.resp_queue)
            self._s3.put_object(Bucket=self._settings.in_bucket, Key=job.key, Body=payload)
            self._sqs.send_message(QueueUrl=url, MessageBody=job.to_json())

    def collect(self, count: int) -> list[tuple[float, Result]]:
        """The time of each response (seconds since 1970, the queue's clock) and its content, in order of time."""
        url = self._url(self._settings.resp_queue)
        found: list[tuple[float, Result]] = []
        deadline = time.monotonic() + WAIT_SECONDS
        while len(found) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {count} responses came")
            answer = self._sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5, MessageSystemAttributeNames=["SentTimestamp"]
            )
            for message in answer.get("Messages", ()):
                self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                sent_at = int(message["Attributes"]["SentTimestamp"]) / 1000
                found.append((sent_at, Result.from_json(message["Body"])))
        return sorted(found, key=lambda one: one[0])

    def _url(self, queue: str) -> str:
        return str(self._sqs.get_queue_url(QueueName=queue)["QueueUrl"])
