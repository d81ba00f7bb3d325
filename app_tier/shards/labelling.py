"""Labels the photos of a shard: fetched far ahead, decoded by several threads, computed in batches."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from app_tier.pixel_budget import PixelBudget, pixels_in
from app_tier.shards.calls import ShardCalls
from app_tier.suspects.alone import Broken
from app_tier.suspects.suspects import Suspects
from app_tier.worker import RecogniserPort
from inference import picture_facts
from inference.answer import Answer, Decoded
from runs.handling import Labelled
from runs.manifest import BulkPhoto, Manifest
from runs.rows import CHANGED, GONE, UNKNOWN, BulkRow, Picture, chosen_of
from runs.run import Run
from shoal.buckets.suspects import GIVEN_UP
from shoal.errors import BadImage, Changed, NotFound, Permanent
from shoal.messages import Job, Result, safe_name
from shoal.ports import Buckets

log = logging.getLogger(__name__)

AHEAD = 32  # photos that are fetched and decoded before the engine needs them, each some 150 KB then
ENGINE_CALLS = 2  # at once: while one reads what the engine answered, it has the other's batch
PIXELS_AT_ONCE = 32_000_000
SLOTS = 1000  # more than a shard has photos


class ShardStopped(Exception):
    """The worker leaves, or the run is paused or cancelled."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A photo of a shard as the model's input, or its result already. job: names it where photos that end workers
    are counted."""

    photo: BulkPhoto
    job: Job
    decoded: Decoded | None = None
    result: Result | None = None
    picture: Picture = UNKNOWN


class Labelling:
    """One shard at a time.

    give_way: waits until no photo of a person is in work. Raises ShardStopped.
    """

    def __init__(
        self, buckets: Buckets, recogniser: RecogniserPort, suspects: Suspects, give_way: Callable[[], None]
    ) -> None:
        self._buckets = buckets
        self._recogniser = recogniser
        self._suspects = suspects
        self._give_way = give_way
        self._budget = PixelBudget(PIXELS_AT_ONCE)
        self._fetchers = ThreadPoolExecutor(max(4, os.cpu_count() or 1), "bulk-fetch")
        self._engine = ThreadPoolExecutor(ENGINE_CALLS, "bulk-infer")
        self.calls = ShardCalls()
        self.left = 0  # photos of the shard in work that have no row yet
        self.finished = 0  # rows of all shards

    def close(self) -> None:
        """End its threads."""
        self._fetchers.shutdown(cancel_futures=True)
        self._engine.shutdown(cancel_futures=True)

    def answering(self, model: str) -> str:
        """The name of the model that labels when `model` is asked for. Raises Permanent when it is not served."""
        if not self._recogniser.serves(model):
            raise Permanent(f"this Shoal does not serve the model {model!r}")
        return self._recogniser.resolve(model)

    def label(self, run: Run, shard: int, manifest: Manifest, again: bool) -> Labelled:
        """The rows of a shard, in order. again: it was delivered before, so a photo in it may have ended a worker.

        Raises ShardStopped, Retryable, and Permanent when none of its photos may be read.
        """
        self.answering(run.model)
        began = time.monotonic()
        self.left = len(manifest.entries)
        rows: list[BulkRow] = []
        calls: deque[Future[list[BulkRow]]] = deque()
        opened = self._opened(run, shard, manifest, again)
        try:
            while batch := list(islice(opened, max(1, self._recogniser.batch(run.model)))):
                while len(calls) >= ENGINE_CALLS:
                    self._collect(calls.popleft(), rows)
                self._give_way()
                calls.append(self._engine.submit(self._infer, run, batch))
            while calls:
                self._collect(calls.popleft(), rows)
        finally:
            opened.close()
            self.left = 0
        return Labelled(rows, time.monotonic() - began)

    def _collect(self, call: Future[list[BulkRow]], rows: list[BulkRow]) -> None:
        found = call.result()
        rows += found
        self.left -= len(found)
        self.finished += len(found)

    # fetch and decode

    def _opened(self, run: Run, shard: int, manifest: Manifest, again: bool) -> Generator[_Opened, None, None]:
        """The photos in order, those that come next already on their way."""
        ahead: deque[Future[_Opened]] = deque()
        jobs = (
            (one, Job(run.id, shard * SLOTS + number, safe_name(one.key), "", run.model))
            for number, one in enumerate(manifest.entries)
        )
        try:
            for photo, job in jobs:
                ahead.append(self._fetchers.submit(self._open, run, photo, job, again))
                if len(ahead) >= AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for one in ahead:
                one.cancel()

    def _open(self, run: Run, photo: BulkPhoto, job: Job, again: bool) -> _Opened:
        opened = _Opened(photo, job)
        if photo.fault:
            return replace(opened, result=Result.failed(photo.key, photo.fault, bad_photo=True))
        try:
            self._give_way()
            etag = "" if photo.at else photo.etag  # of a copy, the etag is that of the original
            payload = self._buckets[photo.bucket or run.bucket].get_unchanged(photo.object_key, etag)
            if again and self._suspects.is_counted(job.key):
                return replace(opened, result=self._suspects.try_alone(job, payload))
            self._give_way()
            with self._budget.taken(pixels_in(payload)), self._suspects.opened_keys([job.key]):
                decoded, picture = self._decode(run, job, payload)
                return replace(opened, decoded=decoded, picture=picture)
        except Changed:
            return replace(opened, result=Result.failed(photo.key, CHANGED))
        except NotFound:
            return replace(opened, result=Result.failed(photo.key, GONE))
        except BadImage as error:
            return replace(opened, result=Result.failed(photo.key, str(error), bad_photo=True))
        except Broken as error:
            log.error("%s of run %s: %s", photo.key, run.id, error, exc_info=error.__cause__)
            return replace(opened, result=Result.failed(photo.key, GIVEN_UP))
        except Permanent as error:
            return replace(opened, result=Result.failed(photo.key, f"it cannot be read: {error}"))

    def _decode(self, run: Run, job: Job, payload: bytes) -> tuple[Decoded, Picture]:
        try:
            with self.calls.one():
                decoded = self._recogniser.decode(run.model, payload)
                return decoded, _picture(run, payload, decoded.size)
        except BadImage:
            raise
        except Exception as error:
            raise Broken(f"decoding of {job.key} broke") from error

    # infer

    def _infer(self, run: Run, batch: Sequence[_Opened]) -> list[BulkRow]:
        asked = [one for one in batch if one.decoded is not None]
        answers = iter(self._answers(run, asked))
        return [self._row(run, one, one.result or self._result(run, next(answers))) for one in batch]

    def _answers(self, run: Run, asked: Sequence[_Opened]) -> list[Answer | None]:
        """None for a photo at which the engine breaks: each is tried alone then."""
        try:
            with self._suspects.opened_keys([one.job.key for one in asked]), self.calls.one():
                return list(self._recogniser.infer(run.model, [one.decoded for one in asked if one.decoded]))
        except Exception:
            if len(asked) > 1:
                return [answer for one in asked for answer in self._answers(run, [one])]
            log.exception("inference of %s of run %s broke", asked[0].photo.key, run.id)
            return [None]

    def _result(self, run: Run, answer: Answer | None) -> Result:
        if answer is None:
            return Result.failed("-", GIVEN_UP)
        return Result(
            "-",
            "done",
            answer.labels,
            model=self._recogniser.resolve(run.model),
            engine=self._recogniser.engine(run.model),
            detections=answer.detections,
            warnings=answer.warnings,
            model_version=self._recogniser.version(run.model),
            arithmetic=self._recogniser.arithmetic(run.model),
        )

    def _row(self, run: Run, one: _Opened, result: Result) -> BulkRow:
        return BulkRow(one.photo, chosen_of(run, replace(result, key=one.photo.key)), one.picture)


def _picture(run: Run, payload: bytes, size: tuple[int, int]) -> Picture:
    """What the run tells of a photo that was decoded. size: (0, 0) where it is not known, of what is no photo."""
    picture, pixels = Picture(*size), size[0] * size[1]
    if pixels and run.hash:
        with suppress(BadImage):
            picture = replace(picture, hash=picture_facts.perceptual_hash(payload, pixels))
    asked = run.exif.split(",")
    found = picture_facts.taken(payload, pixels) if pixels and run.exif else picture_facts.Taken()
    if "gps" in asked and found.place:
        picture = replace(picture, latitude=found.place[0], longitude=found.place[1])
    return replace(picture, taken=found.time) if "time" in asked else picture
