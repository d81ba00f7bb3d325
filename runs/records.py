"""What the output bucket knows of runs. All but the control is written once: the first write wins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from runs.manifest import Manifest
from runs.run import (
    FOLDER,
    JSON,
    JSON_LINES,
    Run,
    State,
    control_key,
    done_folder,
    folder_of,
    listed_key,
    manifest_key,
    results_key,
    run_key,
    step_key,
    summary_key,
)
from shoal.errors import NotFound
from shoal.messages import batch_floor, is_batch
from shoal.ports import ObjectStore
from shoal.safe_json import read_object

PAUSED, CANCELLED, RUNNING = "paused", "cancelled", "running"


@dataclass(frozen=True, slots=True)
class ListingState:
    """How far the listing of a run is, all its steps until now together.

    shards, images, size: manifests written, photos in them, their bytes. seen: keys looked at. after: the
    cursor of the last of them.
    """

    shards: int = 0
    images: int = 0
    size: int = 0
    seen: int = 0
    after: str = ""
    done: bool = False

    def with_shard(self, manifest: Manifest) -> ListingState:
        """After one more shard."""
        return ListingState(
            self.shards + bool(manifest.entries),
            self.images + len(manifest.entries),
            self.size + manifest.size,
            self.seen + manifest.seen,
            manifest.through or self.after,
        )


@dataclass(frozen=True, slots=True)
class DoneShard:
    """A shard whose results are stored.

    seconds: of the worker that labelled it. at: when it was marked, seconds since 1970 by the store's clock.
    """

    shard: int
    images: int
    failed: int
    seconds: float
    at: float = field(default=0.0, compare=False)

    @property
    def name(self) -> str:
        """What its mark is called: a listing of the marks tells all."""
        return f"{self.shard:08d}/{self.images}-{self.failed}-{round(self.seconds * 1000)}"


@dataclass(frozen=True, slots=True)
class RunControl:
    """What people, or the share of failures, have decided. reason: in words; empty when it needs none."""

    state: str = RUNNING
    reason: str = ""


class RunRecords:
    """The runs in an output bucket. Every method may raise Retryable."""

    def __init__(self, outputs: ObjectStore) -> None:
        self._outputs = outputs

    def add(self, run: Run) -> None:
        """Write down a new run."""
        self._outputs.put_new(run_key(run.id), run.to_json().encode(), JSON)

    def run(self, run: str) -> Run:
        """Raises NotFound, MalformedMessage."""
        return Run.from_json(self._outputs.get(run_key(run)))

    def ids(self, since: float = 0.0) -> Iterator[str]:
        """The ids of all runs made after `since` (seconds since 1970), oldest first: a call for each."""
        after = f"{FOLDER}/{batch_floor(since)}"
        while found := list(self._outputs.list(f"{FOLDER}/", after, most=1)):
            name = found[0].key.split("/")[1]
            if is_batch(name):
                yield name
            after = f"{FOLDER}/{name}0"  # sorts after all keys of this run, because "0" does after "/"

    def control(self, run: str) -> RunControl:
        """What was decided last."""
        found = self._object(control_key(run))
        return RunControl(str(found.get("state", RUNNING)), str(found.get("reason", ""))) if found else RunControl()

    def decide(self, run: str, control: RunControl) -> None:
        """Pause, cancel, or let it run on."""
        self._outputs.put(control_key(run), json.dumps(asdict(control)).encode(), JSON)

    def step(self, run: str, step: int) -> ListingState | None:
        """How far the listing was after this step; None when the step is not done."""
        found = self._object(step_key(run, step))
        return ListingState(**found) if found else None

    def add_step(self, run: str, step: int, listed: ListingState) -> ListingState:
        """Write it down; returns what stands there: another worker may have been first."""
        body = json.dumps(asdict(listed), ensure_ascii=False).encode()
        if self._outputs.put_new(step_key(run, step), body, JSON):
            return listed
        return self.step(run, step) or listed

    def last_step(self, run: str) -> tuple[int, ListingState]:
        """The number of steps done, and how far the listing is."""
        steps = sum(1 for _ in self._outputs.list(f"{folder_of(run)}listing/"))
        return steps, (self.step(run, steps - 1) if steps else None) or ListingState()

    def listed(self, run: str) -> ListingState | None:
        """The totals of the listing; None while it is not done."""
        found = self._object(listed_key(run))
        return ListingState(**found) if found else None

    def set_listed(self, run: str, listed: ListingState) -> None:
        """The listing is done."""
        body = json.dumps(asdict(replace(listed, done=True)), ensure_ascii=False).encode()
        self._outputs.put_new(listed_key(run), body, JSON)

    def manifest(self, run: str, shard: int) -> Manifest:
        """Raises NotFound, MalformedMessage."""
        return Manifest.from_bytes(self._outputs.get(manifest_key(run, shard)))

    def add_manifest(self, run: str, shard: int, manifest: Manifest) -> Manifest:
        """Write it; returns the one that stands there: the first write wins."""
        if self._outputs.put_new(manifest_key(run, shard), manifest.to_bytes(), JSON_LINES):
            return manifest
        return self.manifest(run, shard)

    def results(self, run: str, shard: int) -> bytes | None:
        """The lines of a shard's results; None when it is not labelled."""
        return self._get(results_key(run, shard))

    def add_results(self, run: str, shard: int, lines: bytes) -> bool:
        """Store the results of a shard, unless they are there; then they stay. Returns whether they were stored."""
        return self._outputs.put_new(results_key(run, shard), lines, JSON_LINES)

    def mark_done(self, run: str, done: DoneShard) -> None:
        """After its results are stored."""
        self._outputs.put(f"{done_folder(run)}{done.name}", b"", "text/plain")

    def done_after(self, run: str, shard: int) -> Iterator[DoneShard]:
        """The shards of higher numbers that are done, in order, each once."""
        last = shard
        for one in self._outputs.list(done_folder(run), f"{done_folder(run)}{shard:08d}0"):
            done = _read_done(one.key.removeprefix(done_folder(run)), one.modified_at)
            if done is not None and done.shard != last:
                last = done.shard
                yield done

    def summary(self, run: str) -> dict[str, Any] | None:
        """None while the run is not finished."""
        return self._object(summary_key(run))

    def set_summary(self, run: str, summary: dict[str, Any]) -> None:
        """The run is finished."""
        self._outputs.put_new(summary_key(run), json.dumps(summary, ensure_ascii=False, indent=1).encode(), JSON)

    def _object(self, key: str) -> dict[str, Any] | None:
        body = self._get(key)
        return None if body is None else read_object(body, key)

    def _get(self, key: str) -> bytes | None:
        # S3 tells a missing object from a forbidden one only to roles that may list all, and workers may list this
        # folder only.
        if not any(one.key == key for one in self._outputs.list(key, most=1)):
            return None
        try:
            return self._outputs.get(key)
        except NotFound:
            return None


def _read_done(name: str, at: float) -> DoneShard | None:
    shard, _, counts = name.partition("/")
    try:
        images, failed, milliseconds = map(int, counts.split("-"))
        return DoneShard(int(shard), images, failed, milliseconds / 1000, at)
    except ValueError:
        return None


def state_of(records: RunRecords, run: str) -> tuple[State, str]:
    """What a run is doing, and why where a reason is known."""
    finished = records.summary(run) is not None
    control = records.control(run)
    if control.state == CANCELLED:
        return "cancelled", control.reason
    if finished:
        return "done", control.reason
    if control.state == PAUSED:
        return "paused", control.reason
    return ("running" if records.listed(run) else "listing"), ""
