"""A ledger as a controller would have written it, for the pages that read one."""

from __future__ import annotations

import math
from pathlib import Path

from controller.estimates import Spread, Waiting
from controller.ledger import Ledger, Tick
from controller.plan import Drain, Launch
from controller.policy import Decision, Measured, Observation
from controller.tally import Tally
from shoal import ledger_file
from shoal.ports import Depth, Instance

STEP_SECONDS = 5.0


def write_ledger(
    folder: Path, now: float, minutes: float = 25.0, finished_before: int = 0, stopped_at: float = 0.0
) -> Path:
    """The ledger of a pool that took in a wave of photos and is nearly done with it; its newest entry is of `now`.

    stopped_at: when its controller stopped, unless 0.
    """
    writer = Ledger(folder / ledger_file.NAME)
    count = int(minutes * 60 / STEP_SECONDS)
    finished, before = finished_before, 0
    for step in range(count + 1):
        share = step / count
        backlog = round(400 * math.sin(math.pi * share) ** 2) + (3 if step == count else 0)
        machines = min(15, math.ceil(backlog / 27))
        finished += 4 * before
        acts = _acts(before, machines)
        seen = _seen(now - (count - step) * STEP_SECONDS, backlog, machines, before, finished)
        why = f"0.42 s each, target 60 s: need {machines}"
        writer.record(Tick(seen, Decision(machines, why), acts, token=1))
        before = machines
    if stopped_at:
        writer.end(stopped_at, "SIGTERM")
    return folder


def _acts(before: int, machines: int) -> tuple[Launch | Drain, ...]:
    if machines > before:
        return (Launch(tuple(f"worker-{number}" for number in range(before, machines))),)
    return (Drain(tuple(f"i-{number}" for number in range(machines, before)), ""),) if machines < before else ()


def _seen(at: float, backlog: int, machines: int, running: int, finished: int) -> Observation:
    instances = tuple(
        Instance(f"i-{number}", f"worker-{number}", "running" if number < running else "pending", at)
        for number in range(machines)
    )
    in_flight = min(backlog, 8 * running)
    waiting = (Waiting(backlog, 14.0),) if backlog else ()
    measured = Measured(Spread.guess(0.42), Spread.guess(5.0), 2.0, waiting, Tally(finished=finished))
    return Observation(at, Depth(backlog - in_flight, in_flight, 0), instances, measured=measured)
