"""Takes messages of bulk runs while nobody waits for a photo, one at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Self

from app_tier.heartbeat import Heartbeat
from app_tier.shards.calls import ShardCalls
from app_tier.shards.labelling import Labelling, ShardStopped
from app_tier.suspects.suspects import Suspects
from app_tier.worker import RecogniserPort
from runs.handling import Handling, Labelled
from runs.manifest import Manifest
from runs.orders import LabelShard, Order, read_order
from runs.run import Run
from runs.steering import Steering
from shoal.errors import MalformedMessage, NotFound, Permanent, ShoalError
from shoal.lifecycle import StopSignal
from shoal.logs import WarnOnce
from shoal.ports import Cloud, Received

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0  # a drain waits for the poll under way
BUSY_SECONDS = 0.2  # between two looks whether somebody waits
WAY_SECONDS = 0.01  # the same while a shard is in work
LOOK_SECONDS = 3.0  # between two looks whether the run was paused
MISSING_SECONDS = 30.0  # between two looks for a queue that does not exist
AGAIN_SECONDS = 5  # until a message whose work failed is visible again, times its deliveries
MOST_AGAIN_SECONDS = 60
MOST_FAILURES = 10  # deliveries of a message whose work fails, until its run pauses


class BulkLane:
    """A thread beside the pipeline. A context manager around the work of the worker.

    waited_for: how many photos of people the worker has in progress.
    """

    def __init__(
        self,
        cloud: Cloud,
        recogniser: RecogniserPort,
        suspects: Suspects,
        waited_for: Callable[[], int],
        stop: StopSignal,
        visibility_seconds: int,
    ) -> None:
        self._queue = cloud.bulk
        self._steering = Steering(cloud)
        self._waited_for = waited_for
        self._stop = stop
        self._heartbeat = Heartbeat(cloud.bulk, visibility_seconds)
        self._labelling = Labelling(cloud.buckets, recogniser, suspects, self._give_way)
        self._handling = Handling(cloud, self._label, lambda: stop.stopping, self._labelling.answering)
        self._faults = WarnOnce(log)
        self._thread = threading.Thread(target=self._run, name="bulk")
        self._order: Order | None = None
        self._again = False
        self._dropped = threading.Event()

    def __enter__(self) -> Self:
        self._heartbeat.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join()
        self._labelling.close()
        self._heartbeat.__exit__(*error)

    @property
    def in_work(self) -> int:
        """Photos of the shard in work, at least 1 while there is any message in work."""
        return max(self._labelling.left, int(self._order is not None))

    @property
    def finished(self) -> int:
        """Photos of bulk runs that it has finished, those at fault included; one twice if its shard was done again."""
        return self._labelling.finished

    @property
    def calls(self) -> ShardCalls:
        """Its calls of the decoder and the engine."""
        return self._labelling.calls

    def _run(self) -> None:
        while not self._stop.stopping:
            if self._waited_for():
                self._stop.wait(BUSY_SECONDS)
                continue
            try:
                messages = self._queue.receive(1, POLL_SECONDS)
                self._faults.clear()
            except NotFound as error:
                self._faults.warn("there is no queue for bulk runs: `shoal prepare` makes it: %s", error)
                self._stop.wait(MISSING_SECONDS)
                continue
            except Exception as error:
                self._faults.warn("cannot receive messages of bulk runs, will go on trying: %s", error)
                self._stop.wait(1.0)
                continue
            for message in messages:
                self._do(message)

    def _do(self, message: Received) -> None:
        self._heartbeat.hold(message.receipt)
        try:
            self._order = read_order(message.body)
            self._again = message.deliveries > 1
            if self._handling.handle(self._order):
                self._queue.delete([message.receipt])
            else:
                self._show(message, 0)
        except MalformedMessage as error:
            log.error("a message in the bulk queue is deleted: %s", error)
            self._queue.delete([message.receipt])
        except Exception as error:
            self._give_back(message, error)
        finally:
            self._order = None
            self._heartbeat.release(message.receipt)

    def _give_back(self, message: Received, error: Exception) -> None:
        """It is tried again later; its run pauses when that does not help."""
        order = self._order
        hopeless = isinstance(error, Permanent) or message.deliveries >= MOST_FAILURES
        log.warning(
            "%s (delivery %d): %s", order, message.deliveries, error, exc_info=not isinstance(error, ShoalError)
        )
        try:
            if hopeless and order is not None:
                self._steering.pause(order.run, str(error))
                self._queue.delete([message.receipt])
                return
        except Exception as failure:
            log.warning("run %s is not paused: %s", order and order.run, failure)
        self._show(message, min(AGAIN_SECONDS * message.deliveries, MOST_AGAIN_SECONDS))

    def _show(self, message: Received, seconds: int) -> None:
        self._heartbeat.release(message.receipt)
        try:
            self._queue.extend([message.receipt], seconds)
        except Exception as reason:
            log.warning("a message of a run comes back after its visibility timeout: %s", reason)

    def _label(self, run: Run, manifest: Manifest) -> Labelled | None:
        order = self._order
        assert isinstance(order, LabelShard)
        self._dropped.clear()
        ended = threading.Event()
        looking = threading.Thread(target=self._look_for_a_pause, args=(run.id, ended), name="bulk-look")
        looking.start()
        try:
            return self._labelling.label(run, order.shard, manifest, self._again)
        except ShardStopped:
            return None
        finally:
            ended.set()
            looking.join()

    def _look_for_a_pause(self, run: str, ended: threading.Event) -> None:
        while not ended.wait(LOOK_SECONDS):
            try:
                if not self._handling.runs(run):
                    self._dropped.set()
            except ShoalError as error:
                log.debug("cannot see whether the run is paused: %s", error)

    def _give_way(self) -> None:
        """Wait until no photo of a person is in work."""
        while True:
            if self._stop.stopping or self._dropped.is_set():
                raise ShardStopped
            if not self._waited_for():
                return
            self._stop.wait(WAY_SECONDS)
