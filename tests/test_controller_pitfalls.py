"""What autoscalers get wrong, row by row of the field's list. Each test fails without its remedy: the mutation that its
docstring names was tried by `python -m benchmarks.mutations`, which tries them again.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet import FleetWorld
from controller import plan as planning
from controller.ledger import Tick
from controller.plan import Drain, Launch
from controller.policies import deadline, per_message, qos
from controller.policy import Decision, Intent, Limits, Observation, Policy, Terms, decide
from controller.sightings import LOOK_AGAIN_SECONDS, Patience, Sighting, look
from shoal.errors import Retryable
from shoal.ledger import Refusal
from shoal.ledger_file import read
from shoal.ports import Beat, Depth, Instance

ROOT = Path(__file__).parent.parent
QUIET = 10.0


@pytest.fixture
def world(tmp_path: Path) -> FleetWorld:
    return FleetWorld(tmp_path)


def done(tick: Tick | None, kind: type) -> list[Any]:
    assert tick is not None
    return [act for act in tick.done if isinstance(act, kind)]


# approximate counts; acting on one zero


def test_counts_that_lie_empty_no_pool(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQS' counts may lag by a minute; readings of 100, 0, 100, 29, 100 were seen. Several zeros must agree.

    Mutation: controller/policy.py: `if left > 0:` -> `if False:`, and `if largest > wanted:` -> `if False:`
    """
    world.send(100)
    world.tick(work=False)
    assert len(world.machines) == 15
    readings = iter([0, 100, 0, 100, 29, 100, 0, 0, 0])
    monkeypatch.setattr(world.queue, "depth", lambda: Depth(next(readings), 0, 0))
    world.tick(9, work=False)
    assert (len(world.machines), world.leaving) == (15, [])


def test_zero_is_checked_against_what_workers_hold(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that stay zero while workers work are not believed.

    Mutation: controller/experience.py: `max(depth.in_flight, in_progress)` -> `depth.in_flight`
    """
    world.fleet.service_seconds = 1000.0
    world.send(3)
    world.tick(3)
    monkeypatch.setattr(world.queue, "depth", lambda: Depth(0, 0, 0))
    world.tick(60)
    assert (len(world.machines), world.leaving) == (3, [])


# in flight ignored


@pytest.mark.parametrize(
    "policy", [per_message.policy, qos.policy, deadline.policy], ids=["message", "qos", "deadline"]
)
def test_messages_in_flight_keep_workers(world: FleetWorld, policy: Policy) -> None:
    """kedacore/keda#1663: work that is being done is work.

    Mutation: shoal/ports.py: `return self.visible + self.in_flight + self.delayed` -> `return self.visible`
    """
    world.use(policy=policy)
    world.fleet.service_seconds = 100.0
    world.send(1)
    world.tick(2)
    assert world.queue.depth() == Depth(0, 1, 0)
    launched = world.machines
    assert launched
    world.tick(3 * int(QUIET))
    assert world.machines == launched


# launching again while pending


def test_what_boots_is_not_launched_again(tmp_path: Path) -> None:
    """keda#1323, #6157; buildkite-agent-scaler#44.

    Mutation: controller/sightings.py: `CAPACITY_STATES = ("pending", "running")` -> `CAPACITY_STATES = ("running",)`
    """
    world = FleetWorld(tmp_path, boot_seconds=40)
    world.pool._boot_seconds = 40
    world.send(5)
    world.tick(30)
    assert len(world.machines) == 5


def test_what_a_listing_does_not_show_yet_is_not_launched_again(
    world: FleetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing lags behind a launch; intents bridge that, and end when nothing comes.

    Mutation: controller/policy.py: `return len(self.staying) + self.intended` -> `return len(self.staying)`
    """
    world.send(5)
    with monkeypatch.context() as lagging:
        lagging.setattr(world.pool, "describe", list)
        world.tick(20, work=False)
    assert len(world.machines) == 5
    with monkeypatch.context() as lost:
        lost.setattr(world.pool, "launch", lambda names, token: [Instance(one, one, "pending", 0) for one in names])
        world.send(3)
        world.tick()
    world.tick(int(world.launch_seconds) + 1, work=False)
    assert len(world.machines) == 8


# stuck boot counted as capacity


def test_a_boot_that_sticks_is_replaced(world: FleetWorld) -> None:
    """buildkite-agent-scaler#39, #300: a machine that never registers is no worker.

    Mutation: controller/sightings.py: `if now - sighting.first_seen > patience.boot:` -> `if False:`
    """
    world.fleet.stuck = True
    world.send(5)
    world.tick(2)
    stuck = {one.id for one in world.machines}
    assert len(stuck) == 5
    world.fleet.stuck = False
    world.tick(125)
    assert len({one.id for one in world.machines} - stuck) == 5  # replaced before it is ended
    world.tick(60)
    assert world.fleet.finished == 5
    assert world.machines == []


def test_a_worker_that_died_is_replaced(world: FleetWorld) -> None:
    """Its machine runs and it says nothing any more.

    Mutation: controller/sightings.py: `elif now - sighting.beat_changed > patience.silent:` -> `elif False:`
    """
    world.use(terms=replace(world.rules.terms, limits=Limits(1, 15, QUIET)))
    world.tick(3)
    [dead] = world.machines
    world.fleet.workers[dead.id].mute = True
    world.tick(int(world.rules.patience.silent) + 2)
    assert [one.id for one in world.machines if one.drain_since is None] != [dead.id]
    assert len([one for one in world.machines if one.id != dead.id]) == 1


# flapping


def test_a_load_that_comes_and_goes_starts_machines_once(world: FleetWorld) -> None:
    """ray#18925, karpenter#2388: up fast, down by the largest need in the window, zero after its own delay.

    Mutation: controller/policy.py: `if largest > wanted:` -> `if False:`
    """
    world.use(terms=replace(world.rules.terms, limits=Limits(0, 15, 30.0, 20.0, 0.05)))
    world.tick(40)
    launched = drained = 0
    for second in range(300):
        if second % 15 == 0:
            world.send(10)
        entry = world.tick()
        launched += sum(len(act.names) for act in done(entry, Launch))
        drained += sum(len(act.ids) for act in done(entry, Drain))
    assert launched == 10
    assert drained == 0
    world.tick(35)
    assert world.machines == []


def test_up_is_never_damped() -> None:
    """Mutation: controller/policy.py: `if wanted >= capacity:` -> `if wanted >= 2 * capacity:`"""
    machines = tuple(Instance(f"i-{n}", f"n{n}", "running", 0.0) for n in range(10))
    observation = Observation(1000.0, Depth(11, 0, 0), machines)
    terms = Terms(Limits(0, 15, 60.0, 60.0, 0.5))
    assert decide(per_message.policy, observation, (), terms)[0].desired == 11


# scale-in blocks scale-out


def test_leaving_machines_block_no_launch(world: FleetWorld) -> None:
    """buildkite-agent-scaler#346: the desired number is compared with those that stay, not with all there are.

    Mutation: controller/plan.py: `missing = decision.desired - observation.capacity`
    -> `missing = decision.desired - observation.machines`
    """
    world.fleet.service_seconds = 100.0
    world.send(6)
    world.tick(2)
    world.pool.drain([one.id for one in world.machines][:4])
    world.send(4)
    entry = world.tick(work=False)
    [launch] = done(entry, Launch)
    assert len(launch.names) == 8
    assert len(world.machines) == 14


# killing the busy


def test_no_busy_worker_is_killed_over_50_runs_of_random_load(tmp_path: Path) -> None:
    """terraform-aws-github-runner#5085, keda#2900, elastic-ci-stack#1399, jenkins ec2-fleet#363: the controller asks,
    the worker leaves. Restarts of the controller, lowered limits, long messages and changing policies included.

    Mutation: controller/reconciler.py: `self._cloud.pool).drain(act.ids)` -> `self._cloud.pool).terminate(act.ids)`
    """
    for run in range(50):
        chance = random.Random(run)
        (tmp_path / str(run)).mkdir()
        policy = chance.choice([per_message.policy, deadline.policy, qos.policy])
        world = FleetWorld(
            tmp_path / str(run), policy, service_seconds=chance.choice([0.1, 1.0, 7.0]), boot_seconds=2.0
        )
        sent = 0
        for _ in range(40):
            if chance.random() < 0.3:
                sent += (count := chance.choice([1, 5, 40]))
                world.send(count)
            if chance.random() < 0.05:
                world.start()
            if chance.random() < 0.1:
                limits = Limits(0, chance.choice([1, 4, 15]), 3.0, 2.0)
                world.use(terms=replace(world.rules.terms, limits=limits))
            world.tick()
        world.use(terms=replace(world.rules.terms, limits=Limits(0, 15, 3.0, 2.0)))
        for _ in range(60):
            if not world.machines and not world.queue.depth().total:
                break
            world.tick(10)
        assert world.fleet.finished == sent, run
        assert world.fleet.killed_busy == [], run
        assert world.machines == [], run


def test_one_that_was_asked_and_still_finishes_messages_is_left_to(world: FleetWorld) -> None:
    """Mutation: controller/sightings.py: `now - max(sighting.drain_seen, sighting.progressed)`
    -> `now - sighting.drain_seen`
    """
    world.fleet.service_seconds = 20.0
    world.send(30)
    world.use(terms=replace(world.rules.terms, limits=Limits(0, 1, QUIET)))
    world.tick(2)
    world.pool.drain([world.machines[0].id])
    drain_seconds = world.rules.patience.drain
    world.tick(int(8 * drain_seconds))
    assert world.fleet.killed_busy == []
    assert world.fleet.finished >= 20


# the group terminates a random instance


def test_those_that_leave_are_named_and_idle(world: FleetWorld) -> None:
    """elastic-ci-stack#888: not a number is lowered, instances are asked by id, and the idle first. (The Auto Scaling
    group does the same by id with decrement: tests/test_shoal_aws_autoscaling.py.)

    Mutation: controller/plan.py: `return observation.in_progress(one.id), one.state` -> `return 0, one.state`
    """
    world.fleet.service_seconds = 1000.0
    world.send(1)
    world.use(terms=replace(world.rules.terms, limits=Limits(5, 15, QUIET)))
    world.tick(2)
    [busy] = [name for name, worker in world.fleet.workers.items() if worker.held]
    # The busy one is the youngest, so that age alone would choose it.
    world.pool._instances[busy] = replace(world.pool._instances[busy], launched_at=world.clock.now())
    world.use(terms=replace(world.rules.terms, limits=Limits(0, 15, 0.0, 0.0)))
    world.tick(2)
    assert [one.id for one in world.machines] == [busy]
    assert world.leaving == []


# capacity errors


def test_a_cloud_without_capacity_gets_what_there_is_when_there_is(world: FleetWorld) -> None:
    """Mutation: controller/reconciler.py: `self._intents.forget(intent.token)` -> `pass`"""
    world.pool.capacity = 0
    world.send(5)
    world.tick(3)
    world.pool.capacity = 100
    world.tick(work=False)
    assert len(world.machines) == 5


# API throttling


def test_a_tick_asks_the_cloud_once_each_and_launches_in_one_call(
    world: FleetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """github-runner#5010, karpenter-provider-aws#9175: one batched call, whatever the number of instances.

    Mutation: controller/reconciler.py: `self._launch_some(act.names[len(launched) :])`
    -> `self._launch_some(act.names[len(launched) :][:1])`
    """
    calls: list[str] = []

    def counted(name: str, call: Any) -> Any:
        def counting(*arguments: Any) -> Any:
            calls.append(name)
            return call(*arguments)

        return counting

    for target, name in ((world.pool, "describe"), (world.pool, "launch"), (world.queue, "depth"),
                         (world.register, "workers"), (world.pool, "drain")):  # fmt: skip
        monkeypatch.setattr(target, name, counted(name, getattr(target, name)))
    world.send(100)
    world.controller.tick()
    assert sorted(calls) == ["depth", "describe", "launch", "workers"]
    world.tick(10, work=True)
    calls.clear()
    world.controller.tick()
    assert sorted(calls) == ["depth", "describe", "workers"]


def test_a_throttled_look_holds_everything(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: controller/reconciler.py: `if observation is None:` -> `if False:`"""
    world.send(3)
    world.tick(work=False)

    def throttled() -> list[Instance]:
        raise Retryable("describe instances: RequestLimitExceeded")

    monkeypatch.setattr(world.pool, "describe", throttled)
    assert world.tick(30, work=False) is None


# orphans


def test_an_orphan_is_marked_looked_at_again_and_reaped_and_the_young_are_not(world: FleetWorld) -> None:
    """karpenter-provider-aws#2734, github-runner#4391: a machine of ours that does not work for us.

    Mutation: controller/plan.py: `>= LOOK_AGAIN_SECONDS:` -> `>= 10 * LOOK_AGAIN_SECONDS:`
    """
    world.use(terms=replace(world.rules.terms, limits=Limits(1, 15, QUIET)))
    world.fleet.stuck = True
    [orphan] = world.pool.launch(["app-tier-instance-9"], "of a controller that is no more")
    world.tick()
    world.fleet.stuck = False
    world.tick(int(world.rules.patience.boot))
    assert world.machines == [replace(orphan, state="running")]
    world.tick(2)
    assert len(world.machines) == 2  # replaced, and looked at again before it goes
    world.tick(int(LOOK_AGAIN_SECONDS) + 1)
    assert orphan.id not in {one.id for one in world.machines}
    assert len(world.machines) == 1
    assert "terminated 1 (never registered within 120 s)" in list(read(world.ledger_path))[-2].sentence


def test_one_that_registers_between_the_looks_is_kept() -> None:
    """Mutation: controller/sightings.py: `lost_since=now if lost else None`
    -> `lost_since=sighting.lost_since or now`
    """
    late = Sighting(0.0, lost_since=121.0)
    one = Instance("i-1", "n", "running", 0.0)
    seen = look({"i-1": late}, [one], {"i-1": Beat(1)}, 125.0, Patience(120.0, 60.0, 60.0))
    assert Observation(125.0, Depth(0, 0, 0), (one,), sightings=seen).staying == (one,)


# clock skew


def test_only_the_own_clock_counts(world: FleetWorld) -> None:
    """boto3#190, aws-parallelcluster#2055: the cloud's clock is an hour behind, and nobody is late for that.

    Mutation: controller/sightings.py: `or Sighting(now,` -> `or Sighting(one.launched_at,`
    """
    world.use(terms=replace(world.rules.terms, limits=Limits(2, 15, QUIET)))
    world.fleet.boot_seconds = 3600 + 60
    launch = world.pool.launch

    def skewed(names: list[str], token: str) -> list[Instance]:
        launched = launch(names, token)
        for one in launched:
            world.pool._instances[one.id] = replace(one, launched_at=one.launched_at - 3600)
        return launched

    world.pool.launch = skewed  # type: ignore[method-assign,assignment]
    world.tick(30)
    assert [one.id for one in world.machines] == ["i-00000001", "i-00000002"]


# two controllers, cap breached


def test_two_controllers_launch_what_one_would(tmp_path: Path) -> None:
    """escalator#56, github-runner#5186 (100 became 300): one acts, the other stands by; when the active one is paused
    and comes back it finds that it does not hold the lease.

    Mutation: controller/reconciler.py: `return self._hold.held()` -> `return True`, and
    `if not self._hold.held():` -> `if False:`
    """
    world = FleetWorld(tmp_path)
    active = world.controller
    world.start()
    standby = world.controller
    assert standby is not active
    standby._hold._holder = "two"
    world.fleet.service_seconds = 1000.0
    world.send(100)
    active.tick()
    assert standby.tick() is None
    assert len(world.machines) == 15
    world.pool.terminate([one.id for one in world.machines][:5])
    for _ in range(12):  # the active one is paused, the other takes over
        world.clock.wait(1)
        standby.tick()
    assert len(world.machines) == 15
    world.pool.terminate([one.id for one in world.machines][:5])
    assert active.tick() is None  # resumed: it neither acts nor writes
    assert len(world.machines) == 10
    standby.tick()
    assert len(world.machines) == 15


def test_every_launch_passes_the_one_gate() -> None:
    """Mutation: controller/plan.py: `room = max(0, limits.most - observation.machines)` -> `room = limits.most`"""
    machines = tuple(Instance(f"i-{n}", f"n{n}", "running", 0.0, drain_since=1.0) for n in range(10))
    observation = Observation(1000.0, Depth(100, 0, 0), machines, (Intent("t", ("a", "b"), 999.0),))
    planned = planning.plan(Decision(15, ""), observation, Limits(0, 15, QUIET), Patience(120.0, 60.0, 600.0))
    [launch] = planned.acts
    assert isinstance(launch, Launch)
    assert len(launch.names) == 3


# cleanup swallowed by a bare except


def test_a_teardown_that_fails_is_told_and_tried_until_it_succeeds(
    world: FleetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distributed-CellProfiler#208.

    Mutation: controller/reconciler.py: `return None, Refusal(len(act.ids), str(error))` -> `return act, None`
    """
    world.send(3)
    world.tick(2)

    def refused(ids: object) -> None:
        raise Retryable("drain 3 instances: throttled")

    with monkeypatch.context() as failing:
        failing.setattr(world.pool, "drain", refused)
        world.tick(int(QUIET) + 5)
        assert len(world.machines) == 3
    [told] = [one for one in read(world.ledger_path) if one.refused]
    assert told.refused == (Refusal(3, "drain 3 instances: throttled"),)
    world.tick(3)
    assert world.machines == []
