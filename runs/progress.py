"""How far a run is: the same for the command, the page and the API."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from runs.costs import costs
from runs.finishing import DoneShards
from runs.pace import Points, RunPace
from runs.records import ListingState, RunRecords, state_of
from runs.run import Run, State
from shoal.messages import batch_time
from shoal.ports import Register

GOES_ON = ("listing", "running")
ENDED = ("done", "cancelled")
NEWEST_SHARDS = 2


@dataclass(frozen=True, slots=True)
class RunProgress:
    """listed: until now, all if `listed.done`. done: photos with a row, failed of them. seconds: of workers.
    cost: in dollars until now, by the run's price of a worker.
    images_per_second: now; of a run that has ended, over all of its time.
    curve: how many photos were done at which time (seconds since 1970). newest: the shards that were done last.
    """

    run: Run
    state: State
    why: str
    listed: ListingState
    done: int
    failed: int
    seconds: float
    cost: float
    images_per_second: float = 0.0
    curve: Points = ()
    newest: tuple[int, ...] = ()

    @property
    def seconds_left(self) -> float | None:
        """Until all photos are labelled, at the speed of now; None when nobody can tell."""
        if self.state != "running" or not self.images_per_second:
            return None
        return (self.listed.images - self.done) / self.images_per_second

    @property
    def expected_cost(self) -> float | None:
        """Dollars in the end, by what its photos took until now; None when nobody can tell, or it costs nothing."""
        if self.state == "cancelled" or not (self.listed.done and self.done and self.run.price_per_hour):
            return None
        return costs(self.run, self.listed, self.seconds / self.done * self.listed.images)["total"]

    @property
    def began(self) -> float:
        """When it began, seconds since 1970."""
        return batch_time(self.run.id)

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        left = self.seconds_left
        return {
            "run": self.run.id,
            "source": self.run.source,
            "target": self.run.target,
            "model": self.run.model,
            "began": datetime.fromtimestamp(self.began, UTC).isoformat(timespec="seconds"),
            "state": self.state,
            "why": self.why,
            "listed": self.listed.images,
            "listing_done": self.listed.done,
            "done": self.done,
            "labelled": self.done - self.failed,
            "failed": self.failed,
            "images_per_second": round(self.images_per_second, 2),
            "seconds_left": None if left is None else round(left, 1),
            "worker_seconds": round(self.seconds, 1),
            "cost": self.cost,
            "expected_cost": self.expected_cost,
        }


class ProgressReader:
    """Reads one run again and again; a look costs a few calls, however large the run is. now: the reader's clock."""

    def __init__(self, records: RunRecords, run: Run, now: Callable[[], float] = time.time) -> None:
        self._records = records
        self._run = run
        self._now = now
        self._shards = DoneShards()
        self._pace = RunPace(batch_time(run.id))
        self._listed = ListingState()

    def look(self) -> RunProgress:
        """How far it is now. May raise Retryable."""
        if not self._listed.done:
            self._listed = self._records.listed(self._run.id) or replace(
                self._records.last_step(self._run.id)[1], done=False
            )
        self._shards.look(self._records, self._run.id, self._pace.note)
        state, why = state_of(self._records, self._run.id)
        seconds = self._shards.seconds + self._shards.seconds_beyond
        return RunProgress(
            self._run,
            state,
            why,
            self._listed,
            self._shards.images + self._shards.beyond,
            self._shards.failed + self._shards.failed_beyond,
            seconds,
            costs(self._run, self._listed, seconds)["total"],
            self._pace.images_per_second(self._now()) if state in GOES_ON else self._pace.over_all(),
            self._pace.curve(),
            self._pace.newest(NEWEST_SHARDS),
        )


def busy_workers(register: Register) -> int:
    """How many workers label photos of bulk runs now, of any run. May raise Retryable."""
    return sum(beat.bulk > 0 for beat in register.workers().values())
