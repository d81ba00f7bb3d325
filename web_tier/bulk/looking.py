"""How far runs are, looked at once a second at most, whoever asks."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any

from runs.progress import GOES_ON, ProgressReader, RunProgress, busy_workers
from runs.records import RunRecords
from runs.run import Run
from shoal.errors import MalformedMessage, NotFound, ShoalError
from shoal.messages import is_batch
from shoal.ports import Clock, Cloud
from web_tier.problems import Problem, unknown_run
from web_tier.schemas.runs import MOST_RUNS
from web_tier.watching.shared_reading import SharedReading

LOOK_SECONDS = 1.0
EXIST_SECONDS = 60.0
MOST_KEPT = 64  # runs whose reader is kept: it knows which shards were done
DAY_SECONDS = 24 * 3600.0
SPANS = (1.0, 7.0, 30.0, 400.0)  # days: the newest runs are looked for in the last day first


class RunLooker:
    """The runs of a Shoal. Safe for many threads; every method may raise Retryable.

    threads: for a list of runs, which takes some calls for each.
    """

    def __init__(self, cloud: Cloud, clock: Clock, threads: Executor) -> None:
        self.records = RunRecords(cloud.outputs)
        self._clock = clock
        self._threads = threads
        self._kept: OrderedDict[str, tuple[Run, SharedReading[RunProgress]]] = OrderedDict()
        self._changing = threading.Lock()
        self._workers = SharedReading(lambda: _busy(cloud), LOOK_SECONDS)
        self._exist = False
        self._looked_at = float("-inf")

    def run(self, run: str) -> Run:
        """What was asked for. Raises Problem (404)."""
        return self._reading(run)[0]

    def progress(self, run: str) -> RunProgress:
        """How far it is, at most a second old. Raises Problem (404)."""
        return self._reading(run)[1].read()

    def changed(self, run: str) -> None:
        """Look anew the next time: somebody steered it."""
        self._reading(run)[1].forget()

    def workers(self, progress: RunProgress) -> int | None:
        """How many workers label photos of runs; 0 for a run that rests, None when nobody can tell."""
        return self._workers.read() if progress.state in GOES_ON else 0

    def newest(self, visible: Callable[[str], bool]) -> list[RunProgress]:
        """The newest runs among those that are visible, newest first."""
        found: list[str] = []
        for days in SPANS:
            ids = list(self.records.ids(self._clock.now() - days * DAY_SECONDS))
            found = list(_first(reversed(ids), visible, MOST_RUNS))
            if len(found) >= MOST_RUNS:
                break
        looked = self._threads.map(self._look_at, found)
        return [one for one in looked if one is not None]

    def exist(self) -> bool:
        """Whether there is any run, as was last known: looked up beside the request, once a minute."""
        now = time.monotonic()
        with self._changing:
            due = not self._exist and now - self._looked_at >= EXIST_SECONDS
            if due:
                self._looked_at = now
        if due:
            self._threads.submit(self._look_whether_any)
        return self._exist

    def told(self, run: str) -> dict[str, Any]:
        """All that the API says of a run. Raises Problem (404)."""
        return self.told_of(self.progress(run))

    def told_of(self, progress: RunProgress) -> dict[str, Any]:
        """The same of one that was looked at."""
        name = progress.run.id
        summary = self.records.summary(name) if progress.state not in GOES_ON else None
        return progress.to_dict() | {
            "workers": self.workers(progress),
            "page": f"/runs/{name}",
            "results": f"/v1/runs/{name}/results",
            "parts": summary.get("parts", []) if summary else [],
            "cost_by_part": summary.get("cost") if summary else None,
        }

    def _look_whether_any(self) -> None:
        try:
            found = next(self.records.ids(), None) is not None
        except ShoalError:
            return
        self._exist = self._exist or found

    def _look_at(self, run: str) -> RunProgress | None:
        try:
            return self.progress(run)
        except Problem:  # it was deleted since, or another version wrote it
            return None

    def _reading(self, run: str) -> tuple[Run, SharedReading[RunProgress]]:
        with self._changing:
            kept = self._kept.get(run)
            if kept is not None:
                self._kept.move_to_end(run)
                return kept
        try:
            found = self.records.run(run) if is_batch(run) else None
        except (NotFound, MalformedMessage):
            found = None
        if found is None:
            raise unknown_run()
        reader = ProgressReader(self.records, found, self._clock.now)
        fresh = found, SharedReading(reader.look, LOOK_SECONDS)
        with self._changing:
            self._exist = True
            kept = self._kept.setdefault(run, fresh)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return kept


def _first(names: Iterator[str], visible: Callable[[str], bool], most: int) -> Iterator[str]:
    for name in names:
        if most <= 0:
            return
        if visible(name):
            most -= 1
            yield name


def _busy(cloud: Cloud) -> int | None:
    try:
        return busy_workers(cloud.register)
    except ShoalError:
        return None
