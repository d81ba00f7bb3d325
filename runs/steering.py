"""Starts, pauses, resumes and cancels runs, and finds out when one is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from runs.finishing import DoneShards
from runs.listing import SENT_AT_ONCE, Step
from runs.manifest import BulkPhoto, lines
from runs.orders import Finish, LabelShard, ListOn
from runs.records import CANCELLED, PAUSED, DoneShard, ListingState, RunControl, RunRecords
from runs.rows import CHANGED, BulkRow
from runs.run import Run
from shoal.errors import Permanent
from shoal.ports import Cloud

FEWEST_TO_JUDGE = 100  # photos, before the share of those that failed says anything


class Steering:
    """The runs of a Shoal. Every method may raise Retryable."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.records = RunRecords(cloud.outputs)

    def start(self, run: Run) -> None:
        """Write the run down and begin its listing. One that a client lists gets no message: see `list_here`."""
        self.records.add(run)
        if not run.listed_here:
            self._cloud.bulk.send([ListOn(run.id, 0).to_json()])

    def list_here(self, run: Run, step: Step) -> Iterator[ListingState]:
        """Do the steps of a listing in this process, from where it stands; yields how far it is after each."""
        number, listed = self.records.last_step(run.id)
        while not listed.done:
            listed = step.do(number)
            yield listed
            number += 1
        self.look(run, DoneShards())

    def pause(self, run: str, reason: str = "") -> None:
        """Workers drop its messages from now on. Raises Permanent when it is finished."""
        self._check_open(run)
        self.records.decide(run, RunControl(PAUSED, reason))

    def cancel(self, run: str) -> None:
        """It ends with what is labelled until now. Raises Permanent when it is finished."""
        self._check_open(run)
        self.records.decide(run, RunControl(CANCELLED))
        self._cloud.bulk.send([Finish(run).to_json()])

    def resume(self, run: str) -> int:
        """Let it run, and send again what is not done. Returns how many shards that are.

        Raises Permanent when it is finished.
        """
        self._check_open(run)
        self.records.decide(run, RunControl())
        return self.send_again(run)

    def send_again(self, run: str) -> int:
        """Send again what is not done, for its messages may be lost. Returns how many shards that are."""
        if self.records.control(run).state == CANCELLED:
            self._cloud.bulk.send([Finish(run).to_json()])
            return 0
        steps, listed = self.records.last_step(run)
        missing = 0
        for numbers in _tens(self._missing(run, listed)):
            self._cloud.bulk.send([LabelShard(run, number).to_json() for number in numbers])
            missing += len(numbers)
        found = self.records.run(run)
        if self.records.listed(run) is None and not found.listed_here:
            # The last step again: its messages may be lost. It finds that it is done, and sends those of the next.
            self._cloud.bulk.send([ListOn(run, max(0, steps - 1)).to_json()])
        self.look(found, DoneShards())
        return missing

    def _missing(self, run: str, listed: ListingState) -> Iterator[int]:
        next_one = 0
        for done in self.records.done_after(run, -1):
            yield from range(next_one, done.shard)
            next_one = done.shard + 1
        yield from range(next_one, listed.shards)

    def store(self, run: Run, shard: int, rows: Sequence[BulkRow], seconds: float) -> bool:
        """Keep the results of a shard, and mark it as done. Returns False when another worker was first."""
        first = self.records.add_results(run.id, shard, lines([one.to_dict() for one in rows]))
        self.records.mark_done(run.id, DoneShard(shard, len(rows), sum(one.failed for one in rows), seconds))
        return first

    def look(self, run: Run, done: DoneShards) -> None:
        """Look whether the run is done, or fails too often. done: what is known of it, which grows with each look."""
        listed = self.records.listed(run.id)
        done.look(self.records, run.id)
        if done.all(listed):
            self._cloud.bulk.send([Finish(run.id).to_json()])
        elif done.images >= FEWEST_TO_JUDGE and done.failed > run.fail_above * done.images:
            share = f"{done.failed} of {done.images} photos failed, more than {run.fail_above:.0%}"
            if self.records.control(run.id) == RunControl():
                self.pause(run.id, share)

    def _check_open(self, run: str) -> None:
        if self.records.summary(run):
            raise Permanent(f"run {run} is finished")


def check_failed(records: RunRecords, run: str) -> None:
    """Raise Permanent unless the run is finished and photos of it failed."""
    told = records.summary(run)
    if not told:
        raise Permanent(f"run {run} is not finished")
    if not told.get("failed"):
        raise Permanent(f"no photo of run {run} failed")


def failed_entries(records: RunRecords, run: str) -> Iterator[BulkPhoto]:
    """The photos of a run that failed, shard by shard."""
    for done in records.done_after(run, -1):
        if done.failed:
            for line in (records.results(run, done.shard) or b"").splitlines():
                row = BulkRow.from_line(line)
                if row.failed:  # one that was overwritten is labelled as it is now
                    yield replace(row.entry, etag="") if row.result.error == CHANGED else row.entry


def _tens(numbers: Iterator[int]) -> Iterator[list[int]]:
    gathered: list[int] = []
    for number in numbers:
        gathered.append(number)
        if len(gathered) == SENT_AT_ONCE:
            yield gathered
            gathered = []
    if gathered:
        yield gathered
