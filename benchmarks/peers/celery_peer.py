"""The peer: Celery with Redis, with the same engine and photos. It runs in its own virtual environment, which
`benchmarks.peers.peer` makes; nothing else imports it.

`celery -A benchmarks.peers.celery_peer worker` is its worker, `python -m benchmarks.peers.celery_peer FOLDER` its
client.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from celery import Celery  # type: ignore[import-not-found]
from celery.signals import worker_process_init  # type: ignore[import-not-found]

from benchmarks.peers import own_engine, rounds

REDIS = "PEER_REDIS"

app = Celery("peer", broker=os.environ[REDIS], backend=os.environ[REDIS])
app.conf.update(
    task_acks_late=True,
    task_serializer="msgpack",  # takes a photo's bytes as they are: the fastest of the safe ones
    result_serializer="msgpack",
    accept_content=["msgpack"],
    worker_prefetch_multiplier=4,
    worker_hijack_root_logger=False,
)

_own = threading.local()  # an engine is used by one thread: with Celery's pool of threads, each has one


def _load(**_: object) -> None:
    _own.recogniser = own_engine.load()


worker_process_init.connect(_load, weak=False)


@app.task(name="label")  # type: ignore[untyped-decorator]
def label(payload: bytes) -> list[tuple[str, str, float]]:
    """The label of an image."""
    if not hasattr(_own, "recogniser"):
        _load()
    decoded = _own.recogniser.decode("", payload)
    [answer] = _own.recogniser.infer("", [decoded])
    return [(one.name, one.wordnet_id, one.probability) for one in answer.labels]


def _label_all(payloads: list[bytes]) -> None:
    results: list[Any] = [label.delay(payload) for payload in payloads]
    for result in results:
        if not result.get(timeout=rounds.ROUND_SECONDS):
            raise RuntimeError("a photo got no labels")


if __name__ == "__main__":
    rounds.serve(sys.argv[1], _label_all)
