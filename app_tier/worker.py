"""A worker: receive -> fetch -> decode -> infer -> store -> publish -> delete, as a pipeline.

One thread receives, a few fetch and decode ahead of need, the calling thread runs the engine on small batches, a few
store and publish behind it. A message is deleted only after its result is stored and its response is sent, so a
worker may be killed at any line: what it held is delivered again and gives the same object.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from app_tier.heartbeat import Heartbeat
from shoal.errors import BadImage, MalformedMessage, NotFound, ShoalError
from shoal.lifecycle import StopSignal
from shoal.messages import Job, Label, Result
from shoal.ports import Cloud, JobQueue, Received

log = logging.getLogger(__name__)

HELD_MESSAGES = 32  # enough to keep the engine busy while others are fetched; the rest is left to other workers
BATCH_IMAGES = 8
FETCH_THREADS = 4
PUBLISH_THREADS = 4
POLL_SECONDS = 2.0  # a drain must wait for the poll that is under way, or its messages would hide until they time out
RETRY_SECONDS = 2
RECEIVE_PAUSE_SECONDS = 1.0


class Recogniser(Protocol):
    """The part of `inference.process.Recogniser` that a worker needs."""

    model: str
    engine: str

    def serves(self, model: str) -> bool:
        """Whether a job that asks for `model` is for this one."""

    def decode(self, payload: bytes) -> np.ndarray:
        """Bytes to a uint8 tensor (side, side, 3). Raises BadImage. Called by many threads."""

    def infer(self, tensors: Sequence[np.ndarray]) -> list[tuple[Label, ...]]:
        """Tensors to labels, best first. Called by one thread."""


@dataclass
class Held:
    """A message that this worker is working on."""

    job: Job
    message: Received
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class Finished:
    """A held message and what became of it."""

    held: Held
    result: Result


class Worker:
    """Works until it is told to stop, then finishes what it holds.

    replies: the queues that a request message may name in `reply_to`; any other is refused.
    name:    the instance's name, told in each result.
    """

    def __init__(
        self,
        cloud: Cloud,
        recogniser: Recogniser,
        replies: Mapping[str, JobQueue],
        name: str,
        stop: StopSignal,
        visibility_seconds: int,
    ) -> None:
        self._cloud = cloud
        self._recogniser = recogniser
        self._replies = replies
        self._name = name
        self._stop = stop
        self._heartbeat = Heartbeat(cloud.requests, visibility_seconds)
        self._slots = threading.Semaphore(HELD_MESSAGES)
        self._ready: queue.SimpleQueue[tuple[Held, np.ndarray] | None] = queue.SimpleQueue()
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, "fetch")
        self._publishers = ThreadPoolExecutor(PUBLISH_THREADS, "publish")
        self._deaf = False
        self.finished = 0

    def run(self) -> int:
        """Work until the stop; returns how many messages were finished."""
        receiver = threading.Thread(target=self._receive_until_stop, name="receive")
        with self._heartbeat:
            receiver.start()
            try:
                self._infer_until_drained()
            finally:
                self._stop.stop("engine ended")
                receiver.join()
                self._fetchers.shutdown()
                self._publishers.shutdown()
        return self.finished

    # receive

    def _receive_until_stop(self) -> None:
        fetches: list[Future[None]] = []
        while not self._stop.stopping:
            fetches = [one for one in fetches if not one.done()]
            fetches += [self._fetchers.submit(self._fetch_and_decode, held) for held in self._receive()]
        for fetch in fetches:
            fetch.result()
        self._ready.put(None)

    def _receive(self) -> list[Held]:
        slots = self._take_slots()
        messages: list[Received] = []
        if slots and not self._stop.stopping:
            try:
                messages = self._cloud.requests.receive(slots, POLL_SECONDS)
                self._deaf = False
            except ShoalError as error:
                if not self._deaf:
                    log.warning("cannot receive, will go on trying: %s", error)
                self._deaf = True
                self._stop.wait(RECEIVE_PAUSE_SECONDS)
        held = [one for message in messages if (one := self._accept(message))]
        for _ in range(slots - len(held)):
            self._slots.release()
        return held

    def _take_slots(self) -> int:
        """Wait for a free slot, then take as many as there are, up to one receive call's ten."""
        if not self._slots.acquire(timeout=0.2):
            return 0
        taken = 1
        while taken < 10 and self._slots.acquire(blocking=False):
            taken += 1
        return taken

    def _accept(self, message: Received) -> Held | None:
        try:
            job = Job.from_json(message.body)
            if job.reply_to not in self._replies:
                raise MalformedMessage(f"reply_to names {job.reply_to!r}, which is not a response queue of this Shoal")
        except MalformedMessage as error:
            # Not deleted: after some deliveries SQS moves it to the dead-letter queue, where a person can look at it.
            log.error("request message left for the dead-letter queue: %s", error)
            return None
        self._heartbeat.hold(message.receipt)
        return Held(job, message, {"queue": max(0.0, time.time() - message.sent_at)})

    # fetch and decode

    def _fetch_and_decode(self, held: Held) -> None:
        try:
            if not self._recogniser.serves(held.job.model):
                raise BadImage(f"this Shoal does not serve the model {held.job.model!r}")
            started = time.perf_counter()
            payload = self._cloud.inputs.get(held.job.key)
            fetched = time.perf_counter()
            tensor = self._recogniser.decode(payload)
            held.seconds["fetch"] = fetched - started
            held.seconds["decode"] = time.perf_counter() - fetched
        except BadImage as error:
            self._publish_later([self._failed(held, str(error))])
        except NotFound:
            self._publish_later([self._failed(held, "the photo is no longer in the input bucket")])
        except ShoalError as error:
            self._give_back(held, error)
        except Exception as error:
            log.exception("fetch of %s broke", held.job.key)
            self._give_back(held, error)
        else:
            self._ready.put((held, tensor))

    # infer

    def _infer_until_drained(self) -> None:
        drained = False
        while not drained:
            batch, drained = self._next_batch()
            if batch:
                self._infer(batch)

    def _next_batch(self) -> tuple[list[tuple[Held, np.ndarray]], bool]:
        """Wait for one image, then take those that are ready already: no delay when idle, full batches under load."""
        one = self._ready.get()
        batch = []
        while one is not None:
            batch.append(one)
            if len(batch) == BATCH_IMAGES:
                return batch, False
            try:
                one = self._ready.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _infer(self, batch: list[tuple[Held, np.ndarray]]) -> None:
        started = time.perf_counter()
        try:
            answers = self._recogniser.infer([tensor for _, tensor in batch])
        except Exception as error:
            if len(batch) > 1:
                # One of them may be the culprit: the others shall not suffer for it.
                for one in batch:
                    self._infer([one])
                return
            log.exception("inference of %s broke", batch[0][0].job.key)
            self._give_back(batch[0][0], error)
            return
        spent = (time.perf_counter() - started) / len(batch)
        self._publish_later([self._done(held, labels, spent) for (held, _), labels in zip(batch, answers, strict=True)])

    def _done(self, held: Held, labels: tuple[Label, ...], spent: float) -> Finished:
        seconds = {stage: round(value, 4) for stage, value in (held.seconds | {"infer": spent}).items()}
        recogniser = self._recogniser
        return Finished(
            held, Result(held.job.key, "done", labels, "", recogniser.model, recogniser.engine, self._name, seconds)
        )

    def _failed(self, held: Held, error: str) -> Finished:
        return Finished(held, Result.failed(held.job.key, error, self._name))

    # store, publish, delete: in this order

    def _publish_later(self, finished: list[Finished]) -> None:
        self._publishers.submit(self._publish, finished)

    def _publish(self, finished: list[Finished]) -> None:
        stored = [one for one in finished if self._store(one)]
        by_queue: dict[str, list[Finished]] = {}
        for one in stored:
            by_queue.setdefault(one.held.job.reply_to, []).append(one)
        for reply_to, some in by_queue.items():
            self._respond_and_delete(self._replies[reply_to], some)

    def _store(self, one: Finished) -> bool:
        try:
            self._cloud.outputs.put(one.result.key, one.result.to_json().encode(), "application/json")
        except Exception as error:
            self._give_back(one.held, error)
            return False
        return True

    def _respond_and_delete(self, replies: JobQueue, some: list[Finished]) -> None:
        try:
            replies.send([one.result.to_json() for one in some])
            self._cloud.requests.delete([one.held.message.receipt for one in some])
        except Exception as error:
            for one in some:
                self._give_back(one.held, error)
            return
        for one in some:
            self._let_go(one.held)
        self.finished += len(some)

    def _give_back(self, held: Held, error: Exception) -> None:
        """Let the message be delivered again shortly; after some deliveries it becomes a dead letter."""
        log.warning("%s goes back to the queue (delivery %d): %s", held.job.key, held.message.deliveries, error)
        self._let_go(held)
        try:
            self._cloud.requests.extend([held.message.receipt], RETRY_SECONDS)
        except ShoalError as reason:
            log.warning("%s comes back after its visibility timeout: %s", held.job.key, reason)

    def _let_go(self, held: Held) -> None:
        self._heartbeat.release(held.message.receipt)
        self._slots.release()
