"""How far runs are: looked at once a second at most, for all who ask."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from itertools import islice
from typing import Any

from runs.progress import ENDED, GOES_ON, ProgressReader, RunProgress, busy_workers
from runs.records import RunRecords
from runs.run import Run
from shoal.errors import MalformedMessage, NotFound, ShoalError
from shoal.messages import batch_time, is_batch
from shoal.ports import Clock, Cloud
from web_tier.problems import Problem, unknown_run
from web_tier.schemas.runs import MOST_RUNS
from web_tier.watching.shared_reading import SharedReading

LOOK_SECONDS = 1.0
EXIST_SECONDS = 60.0
ENDED_SECONDS = 60.0
MOST_KEPT = 100  # runs whose reader is kept: it knows which shards were done
LISTED_DAYS = 30.0
DAY_SECONDS = 24 * 3600.0
SKEW_SECONDS = 300.0  # the clocks of machines that begin runs may differ by so much

Look = tuple[RunProgress, dict[str, Any] | None]
"""How far a run is, and its summary once it has ended."""


class WatchedRun:
    """Looks at one run. Of one that has ended only whether it is still there, once a minute."""

    def __init__(self, records: RunRecords, run: Run, now: Callable[[], float]) -> None:
        self.run = run
        self._records = records
        self._reader = ProgressReader(records, run, now)
        self._ended: Look | None = None
        self._looked_at = float("-inf")
        self._shared = SharedReading(self._look, LOOK_SECONDS)

    def look(self) -> Look:
        """At most a second old. May raise Retryable; raises NotFound when it was deleted."""
        if self._ended is not None and time.monotonic() - self._looked_at < ENDED_SECONDS:
            return self._ended
        return self._shared.read()

    def changed(self) -> None:
        """Look anew the next time."""
        self._shared.forget()

    def _look(self) -> Look:
        self._looked_at = time.monotonic()
        if self._ended is not None:
            self._records.run(self.run.id)
            return self._ended
        progress = self._reader.look()
        summary = self._records.summary(self.run.id) if progress.state in ENDED else None
        found = progress, summary
        self._ended = found if summary else None
        return found


class RunLooker:
    """The runs of a Shoal. Safe for many threads; every method may raise Retryable.

    threads: for a list of runs, which takes some calls for each.
    """

    def __init__(self, cloud: Cloud, clock: Clock, threads: Executor) -> None:
        self.records = RunRecords(cloud.outputs)
        self._clock = clock
        self._threads = threads
        self._kept: OrderedDict[str, WatchedRun] = OrderedDict()
        self._changing = threading.Lock()
        self._workers = SharedReading(lambda: _busy(cloud), LOOK_SECONDS)
        self._ids: list[str] = []  # of the last days, as far as they are known
        self._listing = SharedReading(self._list, LOOK_SECONDS)
        self._exist = False
        self._looked_at = float("-inf")

    def run(self, run: str) -> Run:
        """What was asked for. Raises Problem (404)."""
        return self._watched(run).run

    def progress(self, run: str) -> RunProgress:
        """How far it is, at most a second old. Raises Problem (404)."""
        return self._look(run)[0]

    def changed(self, run: str) -> None:
        """Look anew the next time: somebody steered it."""
        self._watched(run).changed()

    def newest(self, visible: Callable[[str], bool]) -> list[RunProgress]:
        """The newest runs of the last days among those that are visible, newest first."""
        names = islice(filter(visible, reversed(self._listing.read())), MOST_RUNS)
        looked = self._threads.map(self._look_at, list(names))
        return [one for one in looked if one is not None]

    def exist(self) -> bool:
        """Whether there is any run, as was last known: looked up beside the request, once a minute."""
        now = time.monotonic()
        with self._changing:
            due = not self._exist and now - self._looked_at >= EXIST_SECONDS
            if due:
                self._looked_at = now
        if due:
            with suppress(RuntimeError):  # the process stops, and its threads take nothing more
                self._threads.submit(self._look_whether_any)
        return self._exist

    def told(self, run: str) -> dict[str, Any]:
        """All that the API says of a run. Raises Problem (404)."""
        progress, summary = self._look(run)
        return progress.to_dict() | {
            "workers": self._workers.read() if progress.state in GOES_ON else 0,
            "page": f"/runs/{run}",
            "results": f"/v1/runs/{run}/results",
            "parts": summary.get("parts", []) if summary else [],
            "cost_by_part": summary.get("cost") if summary else None,
        }

    def _list(self) -> list[str]:
        """The runs of the last days, oldest first. Only those that came since are looked for."""
        floor = self._clock.now() - LISTED_DAYS * DAY_SECONDS
        since = max(floor, batch_time(self._ids[-1]) - SKEW_SECONDS) if self._ids else floor
        known = {one for one in self._ids if batch_time(one) >= floor}
        self._ids = sorted(known | set(self.records.ids(since)))
        return self._ids

    def _look(self, run: str) -> Look:
        """Raises Problem (404)."""
        try:
            return self._watched(run).look()
        except NotFound:
            with self._changing:
                self._kept.pop(run, None)
            raise unknown_run() from None

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

    def _watched(self, run: str) -> WatchedRun:
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
        fresh = WatchedRun(self.records, found, self._clock.now)
        with self._changing:
            self._exist = True
            kept = self._kept.setdefault(run, fresh)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return kept


def _busy(cloud: Cloud) -> int | None:
    """How many workers label photos of runs, of any run; None when nobody can tell."""
    try:
        return busy_workers(cloud.register)
    except ShoalError:
        return None
