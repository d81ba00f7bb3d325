"""How far a run is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from runs.costs import costs
from runs.finishing import DoneShards
from runs.records import ListingState, RunRecords, state_of
from runs.run import Run, State


@dataclass(frozen=True, slots=True)
class RunProgress:
    """listed: until now, all if `listed.done`. done: photos with a row, failed of them. seconds: of workers.
    cost: in dollars until now, by the run's price of a worker.
    """

    run: Run
    state: State
    why: str
    listed: ListingState
    done: int
    failed: int
    seconds: float
    cost: float

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "run": self.run.id,
            "source": self.run.source,
            "target": self.run.target,
            "state": self.state,
            "why": self.why,
            "listed": self.listed.images,
            "listing_done": self.listed.done,
            "done": self.done,
            "failed": self.failed,
            "worker_seconds": round(self.seconds, 1),
            "cost": self.cost,
        }


class ProgressReader:
    """Reads one run again and again; a look costs a few calls, however large the run is."""

    def __init__(self, records: RunRecords, run: Run) -> None:
        self._records = records
        self._run = run
        self._shards = DoneShards()
        self._listed = ListingState()

    def look(self) -> RunProgress:
        """How far it is now. May raise Retryable."""
        if not self._listed.done:
            self._listed = self._records.listed(self._run.id) or replace(
                self._records.last_step(self._run.id)[1], done=False
            )
        self._shards.look(self._records, self._run.id)
        state, why = state_of(self._records, self._run.id)
        seconds = self._shards.seconds
        cost = costs(self._run, self._listed, seconds)["total"]
        done = self._shards.images + self._shards.beyond
        return RunProgress(self._run, state, why, self._listed, done, self._shards.failed, seconds, cost)
