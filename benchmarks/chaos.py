"""`python -m benchmarks.chaos kills|pair|drains`: disturb controllers and workers, and check that no photo suffers.

kills:  kill -9 of the controller at random moments of 20 scale-outs.
pair:   two controllers for ten minutes of load; the active controller is paused and resumed again and again.
drains: 50 runs of random load while busy workers are asked to leave.

Controllers, workers and the cloud are real processes. The engine of the workers only waits
(benchmarks/running/stub_engine.py). Exits with status 1 if anything is wrong.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.running.plant import Leavings, Plant, Watch
from benchmarks.running.waiting import wait_for

CAP = 4
console = Console(highlight=False)
pause = threading.Event().wait


@dataclass
class ChaosOutcome:
    """What a run showed, as rows of a table. wrong: one sentence for each fault, empty if there is none."""

    title: str
    rows: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def check(self, holds: bool, what: str) -> None:
        """Record `what` as wrong if it does not hold."""
        if not holds:
            self.wrong.append(what)

    def print(self) -> None:
        """Print the table and the faults."""
        table = Table("", "", title=self.title, show_header=False)
        for name, value in self.rows.items():
            table.add_row(name, str(value))
        table.add_row("wrong", str(len(self.wrong) or "nothing"))
        console.print(table)
        for sentence in self.wrong:
            console.print(f"[bold red]{sentence}[/]")


def say(text: str, outcome: ChaosOutcome) -> None:
    """One line of progress."""
    console.print(f"{text}, {len(outcome.wrong) or 'nothing'} wrong")


# kills


def kills(folder: Path, seed: int, scale_outs: int, actuator: str = "ec2") -> ChaosOutcome:
    """Scale out from zero and in again; kill the controller up to three times meanwhile."""
    choice = random.Random(seed)
    outcome = ChaosOutcome(f"kill -9 of the controller, {scale_outs} scale-outs, cap {CAP}, actuator {actuator}")
    killed = photos = instances = most = 0
    with Plant(folder, MAX_INSTANCES=CAP, ACTUATOR=actuator) as plant:
        [controller] = plant.controllers
        for number in range(scale_outs):
            wanted = choice.randint(1, 3 * CAP)
            with Watch(plant) as watch:
                plant.submit(wanted)
                for _ in range(choice.randint(1, 3)):
                    if choice.random() < 0.7:  # else right away, while it is about to start
                        wait_for(controller.watches, 60, "the controller did not start")
                    pause(choice.uniform(0, 1.0))
                    controller.kill()
                    killed += 1
                    controller.start()
                outcome.wrong += [f"scale-out {number}: {one}" for one in plant.settle()]
            photos, instances, most = photos + wanted, instances + len(watch.seen), max(most, watch.most)
            say(f"scale-out {number}: {wanted} photos, {len(watch.seen)} launched, most {watch.most}", outcome)
            allowed = min(wanted, CAP)
            outcome.check(watch.most <= allowed, f"scale-out {number}: {watch.most} machines for {wanted} photos")
            outcome.check(
                len(watch.seen) <= allowed, f"scale-out {number}: {len(watch.seen)} launched for {wanted} photos"
            )
            check_leavings(plant, list(watch.seen), wanted, outcome)
    outcome.rows = {
        "controllers killed": killed,
        "photos, all answered once": photos,
        "instances launched": instances,
        "most at a time": most,
    }
    return outcome


# pair


def pair(folder: Path, seed: int, seconds: float, rest: float = 1.0) -> ChaosOutcome:
    """Two controllers under random load; pause the active controller for longer than the lease, again and again."""
    choice = random.Random(seed)
    outcome = ChaosOutcome(f"two controllers, the active one paused and resumed for {seconds / 60:.1f} min, cap {CAP}")
    with Plant(folder, controllers=2, MAX_INSTANCES=CAP) as plant, Watch(plant) as watch:
        loaded = threading.Event()
        load = threading.Thread(target=_load, args=(plant, random.Random(seed + 1), loaded))
        load.start()
        try:
            pauses = _pause_the_active(plant, choice, seconds, rest)
        finally:
            loaded.set()
            load.join()
        outcome.wrong += plant.settle()
        acts = sorted((one.at, one.token, who.name) for who in plant.controllers for one in who.acts())
        _judge_acts(acts, pauses, outcome)
        outcome.check(watch.most <= CAP, f"{watch.most} instances at a cap of {CAP}")
        photos = plant.photos()
        leavings = check_leavings(plant, list(watch.seen), photos, outcome)
        outcome.rows = {
            "pauses of the active controller": pauses,
            "tokens under which something was done": len({token for _, token, _ in acts}),
            "acts of each controller": {
                one.name: sum(who == one.name for _, _, who in acts) for one in plant.controllers
            },
            "looks at the instances": watch.looks,
            "most instances at a time": watch.most,
            "instances launched": len(watch.seen),
            "photos, all answered": photos,
            "photos finished by workers": leavings.finished,
        }
    return outcome


def _load(plant: Plant, choice: random.Random, ended: threading.Event) -> None:
    while not ended.wait(choice.uniform(0.5, 8.0)):
        plant.submit(choice.randint(1, 3 * CAP))


def _pause_the_active(plant: Plant, choice: random.Random, seconds: float, rest: float) -> int:
    lease, deadline, pauses = plant.settings.lease_seconds, time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        wait_for(plant.active, 60, "no controller holds the lease")
        active = plant.active()
        if active is None:
            continue
        active.send(signal.SIGSTOP)
        pauses += 1
        if pauses % 10 == 0:
            console.print(f"{pauses} pauses")
        try:
            pause(lease * choice.uniform(0.3, 3.0))
        finally:
            active.send(signal.SIGCONT)
        pause(rest * choice.uniform(0.2, 4.0))
    return pauses


def _judge_acts(acts: Sequence[tuple[float, int, str]], pauses: int, outcome: ChaosOutcome) -> None:
    """`at` is the time at which a tick began, by a clock that both controllers read. After it, no controller may act
    with an older token.
    """
    tokens = [token for _, token, _ in acts]
    outcome.check(bool(acts) and pauses > 0, "nothing was done: this run shows nothing")
    outcome.check(tokens == sorted(tokens), "a controller began to act after another had taken the lease")
    owners: dict[int, set[str]] = {}
    for _, token, who in acts:
        owners.setdefault(token, set()).add(who)
    shared = [token for token, who in owners.items() if len(who) > 1]
    outcome.check(not shared, f"two controllers acted under the same token: {shared}")


# drains


def drains(folder: Path, seed: int, runs: int, drain_by: str) -> ChaosOutcome:
    """Send bursts of photos, so that the pool shrinks while it works, and mark workers from outside."""
    choice = random.Random(seed)
    outcome = ChaosOutcome(f"drains of busy workers (asked by {drain_by}), {runs} runs of random load, cap {CAP}")
    photos = instances = marked = finished = 0
    reasons: dict[str, int] = {}
    with Plant(folder, MAX_INSTANCES=CAP, DRAIN_BY=drain_by) as plant:
        for number in range(runs):
            sent = 0
            with Watch(plant) as watch:
                for _ in range(choice.randint(1, 3)):
                    burst = choice.randint(1, 6 * CAP)
                    plant.submit(burst)
                    sent += burst
                    if choice.random() < 0.7:
                        marked += plant.drain_busy(choice)
                    pause(choice.uniform(0.0, 4.0))
                outcome.wrong += [f"run {number}: {one}" for one in plant.settle()]
            say(f"run {number}: {sent} photos, {len(watch.seen)} launched, {marked} marked so far", outcome)
            outcome.check(watch.most <= CAP, f"run {number}: {watch.most} instances at a cap of {CAP}")
            leavings = check_leavings(plant, list(watch.seen), sent, outcome)
            photos, instances, finished = photos + sent, instances + len(watch.seen), finished + leavings.finished
            for why, count in leavings.reasons.items():
                reasons[why] = reasons.get(why, 0) + count
        [controller] = plant.controllers
        asked = sum(len(act.machines) for one in controller.acts() for act in one.done if act.kind == "drain")
    outcome.check(asked + marked > 0, "nobody was asked to leave: this run shows nothing")
    outcome.rows = {
        "photos, all answered": photos,
        "photos finished by workers": finished,
        "instances launched": instances,
        "asked to leave by the controller": asked,
        "busy ones marked from outside": marked,
        "left by themselves": reasons,
        "busy workers killed": len([one for one in outcome.wrong if "killed" in one]),
    }
    return outcome


def check_leavings(plant: Plant, instances: Sequence[str], photos: int, outcome: ChaosOutcome) -> Leavings:
    """Check that each worker that worked has said that it leaves, and that each photo was finished exactly once."""
    leavings = Leavings(plant, instances)
    outcome.check(not leavings.killed, f"workers were killed: {leavings.killed}")
    outcome.check(leavings.finished == photos, f"{leavings.finished} finished for {photos} photos: work was done twice")
    return leavings


@click.command()
@click.argument("what", type=click.Choice(["kills", "pair", "drains"]))
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--scale-outs", type=int, default=20, show_default=True, help="For kills.")
@click.option(
    "--actuator", type=click.Choice(["ec2", "autoscaling"]), default="ec2", show_default=True, help="For kills."
)
@click.option("--minutes", type=float, default=10.0, show_default=True, help="For pair.")
@click.option("--runs", type=int, default=50, show_default=True, help="For drains.")
@click.option("--drain-by", type=click.Choice(["tag", "queue"]), default="tag", show_default=True, help="For drains.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the state folder here.")
def main(
    what: str, seed: int, scale_outs: int, actuator: str, minutes: float, runs: int, drain_by: str, keep: Path | None
) -> None:
    """Disturb controllers and workers."""
    place = keep or Path(tempfile.mkdtemp(prefix="shoal-chaos-"))
    modes: dict[str, Callable[[], ChaosOutcome]] = {
        "kills": lambda: kills(place, seed, scale_outs, actuator),
        "pair": lambda: pair(place, seed, minutes * 60),
        "drains": lambda: drains(place, seed, runs, drain_by),
    }
    outcome = modes[what]()
    outcome.print()
    if not keep:
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
