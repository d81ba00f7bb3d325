"""A worker: receive -> fetch -> decode -> infer -> store -> publish -> delete, as a pipeline.

One thread receives. A few fetch and decode ahead of need. Two run the engine on small batches. The publisher's threads
store and publish. A message is deleted only after its result is stored and its response is sent. So a worker may be
killed at any line: its messages in progress are delivered again and give the same objects. A photo that was open when a
worker's process ended is tried alone, in a process of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from app_tier.answers import Answers
from app_tier.bucket_events import BucketEvents
from app_tier.heartbeat import Heartbeat
from app_tier.in_progress import Delivery, Finished
from app_tier.inference_queue import Image, InferenceQueue
from app_tier.other_messages import OtherMessages
from app_tier.pixel_budget import PixelBudget, pixels_in
from app_tier.prefetch import Prefetch
from app_tier.publisher import Publisher, RepliesPort
from app_tier.store_patience import StorePatience
from app_tier.suspects.alone import Broken
from app_tier.suspects.failure_notes import FailureNotes
from app_tier.suspects.suspects import Suspects
from inference.answer import Answer, Decoded
from shoal import traces
from shoal.buckets.deleted_batches import LOOK_SECONDS, DeletedBatches
from shoal.buckets.suspects import GIVEN_UP
from shoal.errors import BadImage, MalformedMessage, NotFound, Retryable, ShoalError
from shoal.lifecycle import StopSignal
from shoal.logs import WarnOnce
from shoal.messages import UPLOAD, Job, Result
from shoal.ports import MOST_IN_PROGRESS, Cloud, Received

log = logging.getLogger(__name__)

LEAST_IN_PROGRESS = 1  # of a worker that needs PREFETCH_SECONDS for one: an idle worker would do the next sooner
FIRST_IN_PROGRESS = 1  # until one is done, so that nothing takes the processor from it: how long does one take?
PREFETCH_SECONDS = 4.0  # of work
RECEIVE_MESSAGES = 10  # what SQS gives in one call
FETCH_THREADS = 4
ENGINE_THREADS = 2  # while one reads what the engine answered, the engine has the other's batch: 7 % more images
PIXELS_AT_ONCE = 32_000_000  # unpacked, 128 MB at 4 bytes each
POLL_SECONDS = 2.0  # a drain waits for the poll under way, or its messages would be invisible until they time out
PLACE_SECONDS = 0.2  # how often a worker that is full looks for a stop
SIGNAL_SECONDS = 0.2  # how often the main thread wakes to see a signal that the kernel gave to another thread
RETRY_SECONDS = 2  # until a message that was given back is visible again, times its deliveries: an outage may last
MOST_RETRY_SECONDS = 60  # so a fault must last for an hour and more until the last net takes a message
RECEIVE_PAUSE_SECONDS = 1.0
IDLE_LOOK_SECONDS = 60.0  # between two looks for deleted batches, while there is nothing to label


class RecogniserPort(Protocol):
    """The part of `inference.process.Recogniser` that a worker needs."""

    models: tuple[str, ...]

    def serves(self, model: str) -> bool:
        """Whether this worker has the model."""

    def resolve(self, model: str) -> str:
        """The name of the model that labels when `model` is asked for."""

    def decode(self, model: str, payload: bytes) -> Decoded:
        """Bytes to the model's input. Raises BadImage. Called by many threads."""

    def version(self, model: str) -> str:
        """The version of the model's files."""

    def engine(self, model: str) -> str:
        """The program that runs the model."""

    def arithmetic(self, model: str) -> str:
        """In which the model is computed."""

    def batch(self, model: str) -> int:
        """The best number of images for a call of `infer`. Answers at once."""

    def infer(self, model: str, decoded: Sequence[Decoded]) -> list[Answer]:
        """Inputs to answers. Called by ENGINE_THREADS threads."""


class Worker:
    """Works until it is told to stop, then finishes its messages in progress.

    replies:  the queues that a request message may name in `reply_to`; any other is refused.
    name:     the instance's name, for the results.
    remember: how many answers to keep for identical bytes.
    events:   reads the events that announce photos; none announces any when None.
    suspects: what is known of photos that may end this process; nothing of its predecessor's when None.
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
        events: BucketEvents | None = None,
        suspects: Suspects | None = None,
    ) -> None:
        self._cloud = cloud
        self._recogniser = recogniser
        self._replies = replies
        self._name = name
        self._stop = stop
        self._heartbeat = Heartbeat(cloud.requests, visibility_seconds)
        self._prefetch = Prefetch(MOST_IN_PROGRESS, LEAST_IN_PROGRESS, PREFETCH_SECONDS, FIRST_IN_PROGRESS)
        self._pixel_budget = PixelBudget(PIXELS_AT_ONCE)
        self._answers = Answers(remember)
        self._deleted = DeletedBatches(cloud.outputs)
        self._inference_queue = InferenceQueue()
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, "fetch")
        self._suspects = suspects or Suspects(cloud.outputs)
        self._alone = ThreadPoolExecutor(1, "alone")  # one at a time: each needs the memory of a small worker
        self._other_messages = OtherMessages(cloud, events or BucketEvents(), self._fetchers)
        self._patience = StorePatience(stop)
        self._failure_notes = FailureNotes(cloud.outputs, name, stop)
        self._publisher = Publisher(
            cloud, self._patience, replies, lambda: self.in_progress, self._done, self._give_back, self._deleted
        )
        self._receive_faults = WarnOnce(log)
        self.finished = 0
        self.dropped = 0
        self.received = 0
        self.tries_alone = False

    @property
    def in_progress(self) -> int:
        """Messages that it works on now."""
        return self._prefetch.in_progress

    @property
    def let_go(self) -> int:
        """Messages that left it: finished or given back."""
        return self._prefetch.gone

    @property
    def busy_seconds(self) -> float:
        """Time since its start in which a message was in progress."""
        return self._prefetch.busy_seconds

    @property
    def waits_for_store(self) -> bool:
        """Whether the buckets do not answer or are full, so that it cannot get on."""
        return self._patience.waiting

    @property
    def idle_since(self) -> float | None:
        """Since when no message is in progress (`time.monotonic()`); None while one is."""
        return self._prefetch.idle_since

    def run(self) -> int:
        """Work until the stop; returns how many messages were finished."""
        receiver = threading.Thread(target=self._receive_until_stop, name="receive")
        with self._heartbeat, self._publisher:
            receiver.start()
            try:
                with ThreadPoolExecutor(ENGINE_THREADS, "infer") as threads:
                    running = [threads.submit(self._infer_until_closed) for _ in range(ENGINE_THREADS)]
                    while not self._stop.wait(SIGNAL_SECONDS):
                        pass  # Python's handlers run in the main thread only, between two waits
                for one in running:
                    one.result()
            finally:
                receiver.join()
                self._fetchers.shutdown()
                self._alone.shutdown()
        return self.finished

    # receive

    def _receive_until_stop(self) -> None:
        self._count_left_open()
        fetches: dict[Future[None], Delivery] = {}
        while not self._stop.stopping:
            fetches = {fetch: delivery for fetch, delivery in fetches.items() if not fetch.done()}
            fetches |= {self._fetchers.submit(self._prepare, delivery): delivery for delivery in self._receive()}
            self._deleted.look(LOOK_SECONDS if self.in_progress else IDLE_LOOK_SECONDS)
            self._answers.forget(self._deleted.known)
        self._give_up([delivery for fetch, delivery in fetches.items() if fetch.cancel()])
        self._fetchers.shutdown()
        self._inference_queue.close()

    def _receive(self) -> list[Delivery]:
        places = self._prefetch.take(RECEIVE_MESSAGES, PLACE_SECONDS)
        messages: list[Received] = []
        if places and not self._stop.stopping:
            try:
                messages = self._cloud.requests.receive(places, POLL_SECONDS)
                self._receive_faults.clear()
                self.received += len(messages)
            except Exception as error:
                self._receive_faults.warn("cannot receive, will go on trying: %s", error)
                self._stop.wait(RECEIVE_PAUSE_SECONDS)
        deliveries = [one for message in messages if (one := self._accept(message))]
        self._prefetch.settle(places, len(deliveries))
        return deliveries

    def _accept(self, message: Received) -> Delivery | None:
        try:
            job = self._job(message)
            if job is None:
                return None
            delivery = Delivery.open(message, job)
        except Exception:
            # No message may end this thread: the worker would go on to beat, and label nothing.
            log.exception("request message left for the dead-letter queue: reading it broke")
            return None
        self._heartbeat.hold(message.receipt)
        return delivery

    def _job(self, message: Received) -> Job | None:
        try:
            job = Job.from_json(message.body)
        except MalformedMessage as error:
            return self._other_messages.photo(message, str(error))
        if job.reply_to in self._replies:
            return job
        # Its photo is not lost: the sweeper finds it without a message.
        foreign = f"reply_to names {job.reply_to!r}, which is not a response queue of this Shoal"
        return self._other_messages.photo(message, foreign)

    # fetch and decode

    def _prepare(self, delivery: Delivery) -> None:
        with self._without_breaking(delivery):
            if not self._recogniser.serves(delivery.job.model):
                self._publish_failed(delivery, f"this Shoal does not serve the model {delivery.job.model!r}")
            elif self._patience.call(lambda: self._suspects.is_suspect(delivery)):
                self._alone.submit(self._try_alone, delivery)
            elif image := self._fetch_and_decode(delivery):
                self._inference_queue.put(image)

    @contextmanager
    def _without_breaking(self, delivery: Delivery) -> Iterator[None]:
        """Handle what breaks in the block: the photo fails, or its message goes back."""
        try:
            yield
        except BadImage as error:
            self._publish_failed(delivery, str(error), bad_photo=True)
        except NotFound:
            self._deleted.look(0)  # was it deleted just now? Then the publisher drops the message
            self._publish_failed(delivery, "the photo is no longer in the input bucket")
        except Broken as error:
            self._count_broken(delivery, error)
        except ShoalError as error:
            self._give_back([delivery], error)
        except Exception as error:
            log.exception("fetch of %s broke", delivery.job.key)
            self._give_back([delivery], error)

    def _fetch(self, delivery: Delivery) -> bytes:
        began = time.perf_counter()
        payload = self._patience.call(lambda: self._cloud.inputs.get(delivery.job.key))
        delivery.note("fetch", began)
        return payload

    def _fetch_and_decode(self, delivery: Delivery) -> Image | None:
        """The image for the engine; None when the photo is answered already, from memory."""
        model = self._recogniser.resolve(delivery.job.model)
        payload = self._fetch(delivery)
        began = delivery.ended
        digest = self._answers.name(model, payload)
        if answer := self._answers.find(digest):
            self._publish_answer(delivery, model, answer, cached=True)
            return None
        with self._pixel_budget.taken(pixels_in(payload)), self._suspects.opened([delivery]):
            decoded = self._decode(delivery, payload)
        return Image(delivery, model, decoded, digest, delivery.note("decode", began))

    def _decode(self, delivery: Delivery, payload: bytes) -> Decoded:
        try:
            return self._recogniser.decode(delivery.job.model, payload)
        except ShoalError:
            raise
        except Exception as error:
            raise Broken(f"decoding of {delivery.job.key} broke") from error

    # suspects

    def _count_left_open(self) -> None:
        """Count the photos that were open when this machine's last worker process ended."""
        for key in self._suspects.left_open:
            log.warning("%s was open when the last worker process here ended: it is tried alone from now on", key)
            try:
                self._patience.call(lambda key=key: self._suspects.count(key))  # type: ignore[misc]
            except Retryable:
                return  # this worker leaves: the next one counts them
            except Exception:
                log.exception("%s is not counted", key)
        self._suspects.forget_left_open()

    def _try_alone(self, delivery: Delivery) -> None:
        if self._stop.stopping:
            self._give_up([delivery])
            return
        self.tries_alone = True
        with self._without_breaking(delivery):
            payload = self._fetch(delivery)
            began = delivery.ended
            outcome = self._suspects.try_alone(delivery.job, payload)
            delivery.note("infer", began)
            self._publisher.publish(Finished(delivery, replace(outcome, worker=self._name)))
        self.tries_alone = False

    def _count_broken(self, delivery: Delivery, error: Broken) -> None:
        """Count a photo at which something broke: it fails, or its message goes back and it is tried alone."""
        log.error("%s", error, exc_info=error.__cause__)
        try:
            too_often = self._patience.call(lambda: self._suspects.count(delivery.job.key))
        except Exception as reason:
            self._give_back([delivery], reason)
            return
        if too_often:
            self._publish_failed(delivery, GIVEN_UP)
        else:
            self._give_back([delivery], error)

    # infer

    def _infer_until_closed(self) -> None:
        try:
            while batch := self._inference_queue.take(self._recogniser.batch):
                self._infer(batch)
        finally:
            self._stop.stop("engine ended")  # without it nothing would close what waits for the engine

    def _infer(self, batch: Sequence[Image]) -> None:
        began = time.perf_counter()
        try:
            with self._suspects.opened([one.delivery for one in batch]):
                answers = self._recogniser.infer(batch[0].model, [one.decoded for one in batch])
        except Exception as error:
            self._infer_each(batch, error)
            return
        for one, answer in zip(batch, answers, strict=True):
            one.delivery.stages["wait"] = (one.since, began)
            one.delivery.note("infer", began)
            self._answers.keep(one.digest, answer, one.delivery.job.batch)
            self._publish_answer(one.delivery, one.model, answer)

    def _infer_each(self, batch: Sequence[Image], error: Exception) -> None:
        if len(batch) > 1:
            # One of them may be the cause: the others get their answers.
            for one in batch:
                self._infer([one])
            return
        broken = Broken(f"inference of {batch[0].delivery.job.key} broke")
        broken.__cause__ = error
        self._count_broken(batch[0].delivery, broken)

    # what becomes of a message

    def _publish_answer(self, delivery: Delivery, model: str, answer: Answer, cached: bool = False) -> None:
        outcome = Result(
            delivery.job.key,
            "done",
            answer.labels,
            model=model,
            engine=self._recogniser.engine(delivery.job.model),
            worker=self._name,
            detections=answer.detections,
            warnings=answer.warnings,
            cached=cached,
            model_version=self._recogniser.version(delivery.job.model),
            arithmetic=self._recogniser.arithmetic(delivery.job.model),
        )
        self._publisher.publish(Finished(delivery, outcome))

    def _publish_failed(self, delivery: Delivery, error: str, bad_photo: bool = False) -> None:
        self._publisher.publish(Finished(delivery, Result.failed(delivery.job.key, error, self._name, bad_photo)))

    def _done(self, deliveries: Sequence[Delivery]) -> None:
        self._let_go(deliveries)
        self.dropped += sum(one.dropped for one in deliveries)  # before `finished`, which a beat reads first
        self.finished += len(deliveries)
        for one in deliveries:
            # The web tier measured the upload and sent its span.
            stages = {stage: moments for stage, moments in one.stages.items() if stage != UPLOAD}
            traces.add(one.message.attributes, "label", stages)

    def _give_back(self, deliveries: Sequence[Delivery], error: Exception) -> None:
        """Put messages back in the queue; after very many deliveries they become dead letters."""
        for one in deliveries:
            log.warning("%s goes back to the queue (delivery %d): %s", one.job.key, one.message.deliveries, error)
        self._let_go(deliveries)
        seconds = RETRY_SECONDS * max(one.message.deliveries for one in deliveries)
        self._show(deliveries, min(seconds, MOST_RETRY_SECONDS))
        self._failure_notes.note(deliveries, error)

    def _give_up(self, deliveries: Sequence[Delivery]) -> None:
        """Give messages that were not begun to other workers at once."""
        self._let_go(deliveries)
        self._show(deliveries, 0)

    def _let_go(self, deliveries: Sequence[Delivery]) -> None:
        for one in deliveries:
            self._heartbeat.release(one.message.receipt)
        self._prefetch.let_go(len(deliveries))

    def _show(self, deliveries: Sequence[Delivery], seconds: int) -> None:
        try:
            self._cloud.requests.extend([one.message.receipt for one in deliveries], seconds)
        except Exception as reason:
            log.warning("%d messages come back after their visibility timeout: %s", len(deliveries), reason)
