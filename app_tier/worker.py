"""A worker: receive -> fetch -> decode -> infer -> store -> publish -> delete, as a pipeline.

One thread receives, a few fetch and decode ahead of need, two run the engine on small batches, the publisher's threads
store and publish behind them. A message is deleted only after its result is stored and its response
is sent, so a worker may be killed at any line: what it held is delivered again and gives the same object.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from app_tier.answers import Answers
from app_tier.heartbeat import Heartbeat
from app_tier.in_progress import Delivery, Finished
from app_tier.inference_queue import Image, InferenceQueue
from app_tier.pixel_budget import PixelBudget, pixels_in
from app_tier.prefetch import Prefetch
from app_tier.publisher import Publisher, RepliesPort
from inference.answer import Answer, Decoded
from shoal import traces
from shoal.errors import BadImage, MalformedMessage, NotFound, ShoalError
from shoal.lifecycle import StopSignal
from shoal.logs import WarnOnce
from shoal.messages import UPLOAD, Result
from shoal.ports import Cloud, Received

log = logging.getLogger(__name__)

HELD_MESSAGES = 32  # enough to keep the engine busy while others are fetched; the rest is left to other workers
HELD_LEAST = 4  # one for each thread of the engine, and as many on their way
HELD_SECONDS = 4.0  # of work
HELD_FIRST = 8  # until one is done: to fetch and decode more takes the processor from the first photo
RECEIVE_MESSAGES = 10  # what SQS gives in one call
FETCH_THREADS = 4
ENGINE_THREADS = 2  # while one reads what the engine answered, the engine has the other's batch: 7 % more images
PIXELS_AT_ONCE = 32_000_000  # unpacked, 128 MB at 4 bytes each
POLL_SECONDS = 2.0  # a drain must wait for the poll that is under way, or its messages would hide until they time out
PLACE_SECONDS = 0.2  # how often a worker that is full looks whether it shall stop
RETRY_SECONDS = 2
RECEIVE_PAUSE_SECONDS = 1.0


class RecogniserPort(Protocol):
    """The part of `inference.process.Recogniser` that a worker needs."""

    models: tuple[str, ...]
    engine: str

    def serves(self, model: str) -> bool:
        """Whether a job that asks for `model` can be done here."""

    def resolve(self, model: str) -> str:
        """The name of what labels when `model` is asked for."""

    def decode(self, model: str, payload: bytes) -> Decoded:
        """Bytes to the model's input. Raises BadImage. Called by many threads."""

    def batch(self, model: str) -> int:
        """How many images a call of `infer` shall have where there are enough. Answers at once."""

    def infer(self, model: str, decoded: Sequence[Decoded]) -> list[Answer]:
        """Inputs to answers. Called by ENGINE_THREADS threads."""


class Worker:
    """Works until it is told to stop, then finishes what it holds.

    replies:  the queues that a request message may name in `reply_to`; any other is refused.
    name:     the instance's name, told in each result.
    remember: how many answers to keep for identical bytes.
    """

    def __init__(
        self,
        cloud: Cloud,
        recogniser: RecogniserPort,
        replies: RepliesPort,
        name: str,
        stop: StopSignal,
        visibility_seconds: int,
        remember: int = 0,
    ) -> None:
        self._cloud = cloud
        self._recogniser = recogniser
        self._replies = replies
        self._name = name
        self._stop = stop
        self._heartbeat = Heartbeat(cloud.requests, visibility_seconds)
        self._window = Prefetch(HELD_MESSAGES, HELD_LEAST, HELD_SECONDS, HELD_FIRST)
        self._room = PixelBudget(PIXELS_AT_ONCE)
        self._answers = Answers(remember)
        self._ready = InferenceQueue()
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, "fetch")
        self._publisher = Publisher(cloud, replies, self._done, self._give_back)
        self._receive_faults = WarnOnce(log)
        self.finished = 0

    @property
    def held(self) -> int:
        """Messages that it works on."""
        return self._window.held

    @property
    def let_go(self) -> int:
        """Messages that it was done with, given back ones included."""
        return self._window.gone

    @property
    def busy_seconds(self) -> float:
        """Time since it was made in which it held a message."""
        return self._window.busy_seconds

    @property
    def idle_since(self) -> float | None:
        """Since when it holds no message, `time.monotonic()`; None while it holds one."""
        return self._window.idle_since

    def run(self) -> int:
        """Work until the stop; returns how many messages were finished."""
        receiver = threading.Thread(target=self._receive_until_stop, name="receive")
        with self._heartbeat, self._publisher:
            receiver.start()
            try:
                with ThreadPoolExecutor(ENGINE_THREADS, "infer") as threads:
                    running = [threads.submit(self._infer_until_closed) for _ in range(ENGINE_THREADS)]
                for one in running:
                    one.result()
            finally:
                receiver.join()
                self._fetchers.shutdown()
        return self.finished

    # receive

    def _receive_until_stop(self) -> None:
        fetches: dict[Future[None], Delivery] = {}
        while not self._stop.stopping:
            fetches = {fetch: held for fetch, held in fetches.items() if not fetch.done()}
            fetches |= {self._fetchers.submit(self._prepare, held): held for held in self._receive()}
        self._give_up([held for fetch, held in fetches.items() if fetch.cancel()])
        self._fetchers.shutdown()
        self._ready.close()

    def _receive(self) -> list[Delivery]:
        places = self._window.take(RECEIVE_MESSAGES, PLACE_SECONDS)
        messages: list[Received] = []
        if places and not self._stop.stopping:
            try:
                messages = self._cloud.requests.receive(places, POLL_SECONDS)
                self._receive_faults.clear()
            except ShoalError as error:
                self._receive_faults.warn("cannot receive, will go on trying: %s", error)
                self._stop.wait(RECEIVE_PAUSE_SECONDS)
        held = [one for message in messages if (one := self._accept(message))]
        self._window.settle(places, len(held))
        return held

    def _accept(self, message: Received) -> Delivery | None:
        try:
            held = Delivery.open(message)
            if held.job.reply_to not in self._replies:
                raise MalformedMessage(
                    f"reply_to names {held.job.reply_to!r}, which is not a response queue of this Shoal"
                )
        except MalformedMessage as error:
            # Not deleted: after some deliveries SQS moves it to the dead-letter queue, where a person can look at it.
            log.error("request message left for the dead-letter queue: %s", error)
            return None
        self._heartbeat.hold(message.receipt)
        return held

    # fetch and decode

    def _prepare(self, held: Delivery) -> None:
        try:
            image = self._fetch_and_decode(held)
        except BadImage as error:
            self._publish_failed(held, str(error))
        except NotFound:
            self._publish_failed(held, "the photo is no longer in the input bucket")
        except ShoalError as error:
            self._give_back([held], error)
        except Exception as error:
            log.exception("fetch of %s broke", held.job.key)
            self._give_back([held], error)
        else:
            if image is not None:
                self._ready.put(image)

    def _fetch_and_decode(self, held: Delivery) -> Image | None:
        """The image for the engine; None when the same bytes were answered before."""
        if not self._recogniser.serves(held.job.model):
            raise BadImage(f"this Shoal does not serve the model {held.job.model!r}")
        model = self._recogniser.resolve(held.job.model)
        began = time.perf_counter()
        payload = self._cloud.inputs.get(held.job.key)
        began = held.note("fetch", began)
        digest = self._answers.name(model, payload)
        if answer := self._answers.find(digest):
            self._publish_answer(held, model, answer, cached=True)
            return None
        with self._room.taken(pixels_in(payload)):
            decoded = self._recogniser.decode(held.job.model, payload)
        return Image(held, model, decoded, digest, held.note("decode", began))

    # infer

    def _infer_until_closed(self) -> None:
        try:
            while batch := self._ready.take(self._recogniser.batch):
                self._infer(batch)
        finally:
            self._stop.stop("engine ended")  # without it nothing would close what waits for the engine

    def _infer(self, batch: Sequence[Image]) -> None:
        began = time.perf_counter()
        try:
            answers = self._recogniser.infer(batch[0].model, [one.decoded for one in batch])
        except Exception as error:
            self._infer_each(batch, error)
            return
        for one, answer in zip(batch, answers, strict=True):
            one.held.stages["wait"] = (one.since, began)
            one.held.note("infer", began)
            self._answers.keep(one.digest, answer)
            self._publish_answer(one.held, one.model, answer)

    def _infer_each(self, batch: Sequence[Image], error: Exception) -> None:
        if len(batch) > 1:
            # One of them may be the culprit: the others shall not suffer for it.
            for one in batch:
                self._infer([one])
            return
        log.error("inference of %s broke", batch[0].held.job.key, exc_info=error)
        self._give_back([batch[0].held], error)

    # what becomes of a message

    def _publish_answer(self, held: Delivery, model: str, answer: Answer, cached: bool = False) -> None:
        outcome = Result(
            held.job.key,
            "done",
            answer.labels,
            model=model,
            engine=self._recogniser.engine,
            worker=self._name,
            detections=answer.detections,
            warnings=answer.warnings,
            cached=cached,
        )
        self._publisher.publish(Finished(held, outcome))

    def _publish_failed(self, held: Delivery, error: str) -> None:
        self._publisher.publish(Finished(held, Result.failed(held.job.key, error, self._name)))

    def _done(self, held: Sequence[Delivery]) -> None:
        self._let_go(held)
        self.finished += len(held)
        for one in held:
            # The upload's own span was sent by who measured it.
            stages = {stage: moments for stage, moments in one.stages.items() if stage != UPLOAD}
            traces.add(one.message.attributes, "label", stages)

    def _give_back(self, held: Sequence[Delivery], error: Exception) -> None:
        """Let messages be delivered again shortly; after some deliveries they become dead letters."""
        for one in held:
            log.warning("%s goes back to the queue (delivery %d): %s", one.job.key, one.message.deliveries, error)
        self._let_go(held)
        self._show(held, RETRY_SECONDS)

    def _give_up(self, held: Sequence[Delivery]) -> None:
        """Let others have at once what was not begun."""
        self._let_go(held)
        self._show(held, 0)

    def _let_go(self, held: Sequence[Delivery]) -> None:
        for one in held:
            self._heartbeat.release(one.message.receipt)
        self._window.let_go(len(held))

    def _show(self, held: Sequence[Delivery], seconds: int) -> None:
        try:
            self._cloud.requests.extend([one.message.receipt for one in held], seconds)
        except ShoalError as reason:
            log.warning("%d messages come back after their visibility timeout: %s", len(held), reason)
