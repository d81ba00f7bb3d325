"""Does what a message of the bulk queue asks for. Any of them may be done twice, or by two workers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runs.already import Already
from runs.finishing import DoneShards, merge
from runs.listing import Step
from runs.lists.source import ListSource
from runs.manifest import BulkPhoto, Manifest
from runs.orders import Finish, LabelShard, ListOn, Order
from runs.records import RUNNING, DoneShard
from runs.rows import BulkRow
from runs.run import FAILED_OF, Run
from runs.sources import BucketSource, FailedSource, PhotoSource
from runs.steering import Steering, failed_entries
from shoal.errors import NotFound
from shoal.ports import Cloud

KEPT_RUNS = 16


@dataclass(frozen=True, slots=True)
class Labelled:
    """The rows of a shard, and the seconds of the worker that it took."""

    rows: Sequence[BulkRow]
    seconds: float


class Handling:
    """One for a worker.

    label:    labels the photos of a manifest. Returns None when it was stopped before the end.
    stopping: whether the worker leaves.
    resolve:  the name of the model that answers for a run's; empty when it is not known.
    """

    def __init__(
        self,
        cloud: Cloud,
        label: Callable[[Run, Manifest], Labelled | None],
        stopping: Callable[[], bool] = lambda: False,
        resolve: Callable[[str], str] = lambda model: model,
    ) -> None:
        self._cloud = cloud
        self._label = label
        self._stopping = stopping
        self._resolve = resolve
        self._steering = Steering(cloud)
        self._records = self._steering.records
        self._known: dict[str, tuple[Run, DoneShards]] = {}

    def handle(self, order: Order) -> bool:
        """Do it. Returns True when its message may be deleted, False when it is not done. May raise any ShoalError."""
        try:
            run, done = self._run(order.run)
        except NotFound:
            return True  # the run was deleted
        if isinstance(order, Finish):
            return merge(self._cloud, run, self._stopping)
        if not self.runs(run.id):
            return True  # `resume` sends it again
        if isinstance(order, ListOn):
            if run.listed_here:
                return True
            step = Step(self._records, self._cloud.bulk, run, self._source(run), self._known_of(run))
            if not step.do(order.step).done:
                # No look: the run cannot be done yet, and a worker that ended in it would send the same messages again.
                return True
        elif not self._label_shard(run, order):
            return False
        self._steering.look(run, done)
        return True

    def _source(self, run: Run) -> PhotoSource:
        if run.source.startswith(FAILED_OF):
            other = run.source.removeprefix(FAILED_OF)
            return FailedSource(lambda: failed_entries(self._records, other))
        if run.list_kind:
            return ListSource(run, self._cloud.buckets)
        return BucketSource(self._cloud.buckets[run.bucket], run.prefix)

    def _known_of(self, run: Run) -> Callable[[BulkPhoto], bool] | None:
        return Already(self._records, run, self._resolve(run.model)).knows if run.leaves_out else None

    def runs(self, run: str) -> bool:
        """Whether a run is neither paused nor cancelled."""
        return self._records.control(run).state == RUNNING

    def _run(self, name: str) -> tuple[Run, DoneShards]:
        if name not in self._known:
            if len(self._known) >= KEPT_RUNS:
                self._known.clear()
            self._known[name] = (self._records.run(name), DoneShards())
        return self._known[name]

    def _label_shard(self, run: Run, order: LabelShard) -> bool:
        """Returns whether its results are stored."""
        lines = self._records.results(run.id, order.shard)
        if lines is not None:
            self._mark_again(run, order.shard, lines)
            return True
        labelled = self._label(run, self._records.manifest(run.id, order.shard))
        if labelled is None:
            return not self.runs(run.id)
        self._steering.store(run, order.shard, labelled.rows, labelled.seconds)
        return True

    def _mark_again(self, run: Run, shard: int, lines: bytes) -> None:
        """The worker that stored the results may have ended before it marked them."""
        marked = next(self._records.done_after(run.id, shard - 1), None)
        if marked is None or marked.shard != shard:
            rows = [BulkRow.from_line(line) for line in lines.splitlines()]
            self._records.mark_done(run.id, DoneShard(shard, len(rows), sum(one.failed for one in rows), 0.0))
