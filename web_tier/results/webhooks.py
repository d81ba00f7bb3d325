"""Webhooks: when a batch or a bulk run has ended, post its summary to the address that its submission named.

A pending webhook is an object in the output bucket, so any web process can deliver it. It is delivered at least once,
each time with the same webhook-id. Before each attempt a process writes a claim, which only the first writer gets, so
two processes do not deliver at the same time.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from shoal.errors import BadImage, MalformedMessage, NotFound, ShoalError
from shoal.ports import Clock, ObjectStore
from shoal.safe_json import integer, moment, read_object, text
from web_tier.outside import addresses, signature
from web_tier.outside.guarded_connection import NotPublic
from web_tier.outside.http_post import Poster
from web_tier.problems import Problem
from web_tier.results.batches import Batches

log = logging.getLogger(__name__)

FOLDER = "webhooks"
TICK_SECONDS = 0.5
LIST_SECONDS = 30.0  # how often the records of other processes are looked for
FIRST_PAUSE_SECONDS = 2.0  # it doubles with each attempt
LONGEST_PAUSE_SECONDS = 3600.0
CLAIM_SECONDS = 60.0  # longer than an attempt takes: a process with an older claim has died
PENDING_SECONDS = 14 * 24 * 3600.0  # after that, a batch without all its answers never gets them
MOST_ATTEMPTS = 1000  # more than the pauses leave time for
AT_ONCE = 32  # so that slow receivers do not delay the others

BATCH = "batch"
RUN = "run"

OFF = "Webhooks are not set up here: the operator has to set SHOAL_WEBHOOK_SECRET."


def _permission(url: str) -> str:
    """How an operator allows a well-formed address that is refused for where it is."""
    try:
        address = addresses.parse(url, frozenset([urlsplit(url).netloc.lower()]))
    except (BadImage, ValueError):
        return ""
    return f". If it is your own server, allow it with SHOAL_FETCH_OWN={address.host}:{address.port}"


class WorkEnding(Protocol):
    """What a kind of work says of its end. Every method may raise Retryable."""

    def has_ended(self, name: str, photos: int) -> bool:
        """Whether the work of this id has ended. photos: the number of results that it must have; 0 when unknown."""

    def summary(self, name: str) -> dict[str, Any]:
        """What is posted, in JSON types."""


class BatchEnding:
    """A batch ends when it has a result for each photo."""

    def __init__(self, outputs: ObjectStore, batches: Batches) -> None:
        self._outputs = outputs
        self._batches = batches

    def has_ended(self, name: str, photos: int) -> bool:
        """See `WorkEnding`."""
        return sum(1 for _ in self._outputs.list(f"{name}/")) >= photos

    def summary(self, name: str) -> dict[str, Any]:
        """See `WorkEnding`."""
        return self._batches.read(name).summary()


@dataclass(frozen=True, slots=True)
class PendingWebhook:
    """A webhook that is not delivered yet.

    batch:    the id of the batch, or of the run.
    kind:     BATCH or RUN.
    photos:   the number of results that its batch must have.
    body:     the text to post; empty until the batch is answered.
    attempt:  the number of attempts made.
    made, done, due: when it was registered, when the batch was answered, when to try next; seconds since 1970.
    """

    batch: str
    url: str
    photos: int
    made: float
    done: float = 0.0
    body: str = ""
    attempt: int = 0
    due: float = 0.0
    kind: str = BATCH

    @classmethod
    def from_json(cls, body: bytes, batch: str) -> PendingWebhook:
        """Read the stored record of `batch`. Raises MalformedMessage."""
        fields = read_object(body, "the record of a webhook")
        try:
            record = cls(
                text(fields["batch"]),
                text(fields["url"]),
                integer(fields["photos"]),
                moment(fields["made"]),
                moment(fields.get("done", 0.0)),
                text(fields.get("body", "")),
                integer(fields.get("attempt", 0)),
                moment(fields.get("due", 0.0)),
                text(fields.get("kind", BATCH)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedMessage(f"not the record of a webhook: {error}") from error
        if record.batch != batch or not 0 <= record.attempt <= MOST_ATTEMPTS:
            raise MalformedMessage("not the record of a webhook: its batch or its number of attempts is wrong")
        if record.kind not in (BATCH, RUN):
            raise MalformedMessage("not the record of a webhook: its kind is unknown")
        return record

    @property
    def key(self) -> str:
        """The key of its object."""
        return f"{FOLDER}/{self.batch}/record"

    @property
    def claim(self) -> str:
        """The key of the claim to its next attempt."""
        return f"{FOLDER}/{self.batch}/attempt-{self.attempt}"

    def tried(self, now: float) -> PendingWebhook:
        """The same webhook after a failed attempt."""
        # Not a library's loop: the pauses stand in the record, so that they outlive this process.
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**self.attempt)
        return replace(self, attempt=self.attempt + 1, due=now + pause * random.uniform(0.8, 1.2))


class Webhooks:
    """Stores and delivers webhooks. `register` may be called by many threads; a thread of its own does the rest.

    endings: of each kind, what says that work has ended.
    keys:    the keys that sign deliveries; webhooks are off without any.
    seconds: how long after the batch was answered a delivery is tried.
    """

    def __init__(
        self,
        outputs: ObjectStore,
        endings: Mapping[str, WorkEnding],
        clock: Clock,
        poster: Poster,
        keys: Sequence[bytes],
        seconds: float,
    ) -> None:
        self._outputs = outputs
        self._endings = endings
        self._clock = clock
        self._poster = poster
        self._keys = keys
        self._seconds = seconds
        self._due: dict[str, float] = {}  # batch -> when to look at it next
        self._busy: set[str] = set()
        self._unreadable: set[str] = set()  # batches whose record is not one of ours
        self._listed_at = float("-inf")
        self._changing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        if self._keys:
            self._thread.start()

    def stop(self) -> None:
        """Start no more deliveries; another process, or the next, delivers what is left."""
        self._stop.set()
        self._poster.stop()

    def check(self, url: str) -> None:
        """Raise Problem (400) when `url` cannot get webhooks."""
        if not self._keys:
            raise Problem(400, OFF)
        try:
            self._poster.check(url)
        except BadImage as error:
            raise Problem(400, f"webhook: {error}{_permission(url)}") from None

    def register(self, batch: str, url: str, photos: int) -> None:
        """Deliver to `url` when the batch has as many results as `photos`. May raise Retryable."""
        self._add(PendingWebhook(batch, url, photos, made=self._clock.now()))

    def register_run(self, run: str, url: str) -> None:
        """Deliver to `url` when a bulk run has ended. May raise Retryable."""
        self._add(PendingWebhook(run, url, 0, made=self._clock.now(), kind=RUN))

    def _add(self, record: PendingWebhook) -> None:
        self._write(record)
        with self._changing:
            self._due[record.batch] = 0.0

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            try:
                self.step()
            except Exception as error:
                log.warning("webhooks wait, will go on: %s", error)
                self._stop.wait(LIST_SECONDS)

    def step(self) -> None:
        """Start what is due, each webhook in a thread of its own. May raise Retryable."""
        now = self._clock.now()
        if now - self._listed_at > LIST_SECONDS:
            self._listed_at = now
            self._find()
        with self._changing:
            due = [batch for batch, at in self._due.items() if at <= now and batch not in self._busy]
            due = due[: AT_ONCE - len(self._busy)]
            self._busy.update(due)
        for batch in due:
            threading.Thread(target=self._look, args=(batch,), name="webhook", daemon=True).start()

    def _find(self) -> None:
        keys = [one.key.split("/") for one in self._outputs.list(f"{FOLDER}/") if one.key.count("/") == 2]
        recorded = {batch for _, batch, name in keys if name == "record"}
        for _, batch, name in keys:
            if batch not in recorded:  # a claim that outlived its record
                self._outputs.delete(f"{FOLDER}/{batch}/{name}")
        with self._changing:
            self._due = dict.fromkeys(recorded - self._unreadable, 0.0) | self._due
            self._unreadable &= recorded

    def _look(self, batch: str) -> None:
        try:
            again = self._tend(batch)
        except MalformedMessage as error:
            log.error(
                "the webhook of batch %s is passed over, delete %s/%s to forget it: %s", batch, FOLDER, batch, error
            )
            with self._changing:
                self._unreadable.add(batch)
            again = None
        except ShoalError as error:
            log.info("webhook of batch %s waits: %s", batch, error)
            again = self._clock.now() + FIRST_PAUSE_SECONDS
        except Exception:
            log.exception("webhook of batch %s broke", batch)
            again = self._clock.now() + LIST_SECONDS
        with self._changing:
            self._busy.discard(batch)
            if again is None:
                self._due.pop(batch, None)
            else:
                self._due[batch] = again

    def _tend(self, batch: str) -> float | None:
        """Deliver if the batch is answered. Returns when to look again, None when done. May raise Retryable."""
        record, now = self._read(batch), self._clock.now()
        if record is None:
            return None
        if not record.body:
            if not self._endings[record.kind].has_ended(batch, record.photos):
                return self._wait(record, now)
            record = replace(record, done=now, body=self._body(record, now))
        if now < record.due:
            return record.due
        if not self._outputs.put_new(record.claim, b"", "text/plain"):
            return self._after_other(record, now)
        if self._read(batch) is None:  # another process has delivered it since, and its claim is gone
            self._outputs.delete(record.claim)
            return None
        return self._attempt(record)

    def _after_other(self, record: PendingWebhook, now: float) -> float:
        """Wait for the process that has the claim to this attempt. If that died, count the attempt as failed."""
        claimed = next(iter(self._outputs.list(record.claim)), None)
        if claimed is None or now - claimed.modified_at < CLAIM_SECONDS:
            return now + FIRST_PAUSE_SECONDS
        self._write(replace(record, attempt=record.attempt + 1))
        return now

    def _attempt(self, record: PendingWebhook) -> float | None:
        body = record.body.encode()
        sent = signature.headers(self._keys, f"{record.kind}_{record.batch}", int(self._clock.now()), body)
        try:
            status = self._poster.post(record.url, body, sent)
        except BadImage as error:
            outcome, over = str(error), isinstance(error, NotPublic)
        else:
            outcome, over = f"it answered {status}", status == 410  # Gone: the receiver wants no more webhooks
            if 200 <= status < 300:
                log.info("webhook of batch %s delivered, attempt %d", record.batch, record.attempt + 1)
                self._forget(record)
                return None
        now = self._clock.now()
        log.info("webhook of batch %s to %s, attempt %d: %s", record.batch, record.url, record.attempt + 1, outcome)
        if over or now - record.done >= self._seconds:
            self._give_up(record)
            return None
        again = record.tried(now)
        self._write(again)
        return again.due

    def _wait(self, record: PendingWebhook, now: float) -> float | None:
        """When to look again at a batch that is not answered yet: soon while it is young."""
        age = now - record.made
        if age < PENDING_SECONDS:
            return now + min(10.0, max(0.5, age / 10))
        self._give_up(record)
        return None

    def _give_up(self, record: PendingWebhook) -> None:
        log.warning("webhook of batch %s to %s is given up, attempt %d", record.batch, record.url, record.attempt + 1)
        self._forget(record)

    def _body(self, record: PendingWebhook, now: float) -> str:
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        data = self._endings[record.kind].summary(record.batch)
        return json.dumps({"type": f"{record.kind}.done", "timestamp": at, "data": data})

    def _read(self, batch: str) -> PendingWebhook | None:
        try:
            return PendingWebhook.from_json(self._outputs.get(f"{FOLDER}/{batch}/record"), batch)
        except NotFound:
            return None

    def _write(self, record: PendingWebhook) -> None:
        self._outputs.put(record.key, json.dumps(asdict(record)).encode(), "application/json")

    def _forget(self, record: PendingWebhook) -> None:
        self._outputs.delete(record.key)
        for one in list(self._outputs.list(f"{FOLDER}/{record.batch}/")):
            self._outputs.delete(one.key)
