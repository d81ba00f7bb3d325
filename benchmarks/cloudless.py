"""A worker without a cloud: its pipeline on queues and stores in memory, with an optional delay before each call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from app_tier.worker import RecogniserPort, Worker
from shoal.clock import SystemClock
from shoal.lifecycle import StopSignal
from shoal.memory import memory_cloud
from shoal.messages import Job, new_batch
from shoal.ports import Cloud

REPLIES = "replies"


class Late:
    """A port whose calls take longer, like calls to another machine."""

    def __init__(self, port: Any, seconds: float) -> None:
        self._port = port
        self._seconds = seconds

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._port, name)

        def late(*arguments: Any) -> Any:
            time.sleep(self._seconds)
            return call(*arguments)

        return late


def late_cloud(cloud: Cloud, seconds: float) -> Cloud:
    """The cloud, with each call of a store or queue `seconds` late."""
    names = ("inputs", "outputs", "requests", "responses")
    late: dict[str, Any] = {name: Late(getattr(cloud, name), seconds) for name in names}
    return replace(cloud, **late)


def label_all(recogniser: RecogniserPort, payloads: Sequence[bytes], latency_seconds: float = 0.0) -> float:
    """Images per second of one worker, from its start on a full queue to its last deleted message."""
    cloud = memory_cloud(SystemClock())
    batch = new_batch(time.time())
    jobs = [Job(batch, index, "a.jpg", REPLIES) for index in range(len(payloads))]
    for job, payload in zip(jobs, payloads, strict=True):
        cloud.inputs.put(job.key, payload, "image/jpeg")
    cloud.requests.send([job.to_json() for job in jobs])
    stop = StopSignal()
    seen = late_cloud(cloud, latency_seconds) if latency_seconds else cloud
    worker = Worker(seen, recogniser, {REPLIES: seen.responses}, "benchmark", stop, 3600)
    ended = _stop_when_empty(cloud.requests, stop)
    began = time.perf_counter()
    finished = worker.run()
    if finished != len(payloads):
        raise RuntimeError(f"{finished} of {len(payloads)} photos were labelled")
    return finished / (ended[0] - began)


def _stop_when_empty(queue: Any, stop: StopSignal) -> list[float]:
    """Stop after the last delete and record its time. The worker itself ends only after its current poll.

    It checks after each delete: a thread that polls would be measured too.
    """
    delete = queue.delete
    ended: list[float] = []

    def delete_and_look(receipts: Sequence[str]) -> None:
        delete(receipts)
        if not queue.depth().total:
            ended.append(time.perf_counter())
            stop.stop("all done")

    queue.delete = delete_and_look
    return ended
