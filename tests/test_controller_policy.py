"""The rule, its limits and the plan: pure functions, owned by Hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.plan import Drain, Launch, Terminate, free_names, plan
from controller.policies.per_message import policy
from controller.policy import Decision, Intent, Limits, Need, Observation, clamp, recent, stabilise
from shoal.ports import Depth, Instance

NOW = 1000.0
LIMITS = Limits(0, 15, 10.0)

depths = st.builds(Depth, st.integers(0, 10_000), st.integers(0, 500), st.integers(0, 50))
states = st.sampled_from(["pending", "running", "running", "running", "shutting-down", "stopping", "stopped"])
drains = st.none() | st.floats(NOW - 1000, NOW)
instances = st.lists(
    st.builds(Instance, st.uuids().map(str), st.integers(1, 40).map("app-tier-instance-{}".format), states,
              st.floats(0, NOW), drains, st.just("")),
    max_size=30, unique_by=lambda one: one.id,
).map(tuple)  # fmt: skip
intents = st.lists(
    st.builds(Intent, st.uuids().map(str), st.lists(st.just("n"), min_size=1, max_size=5).map(tuple), st.just(NOW)),
    max_size=2,
).map(tuple)
observations = st.builds(Observation, st.just(NOW), depths, instances, intents)
limits = st.builds(
    lambda least, more, quiet: Limits(least, least + more, quiet),
    st.integers(0, 5),
    st.integers(1, 30),
    st.floats(0, 60),
)
needs = st.lists(st.builds(Need, st.floats(NOW - 200, NOW), st.integers(0, 100)), max_size=20).map(tuple)


def seen(visible: int = 0, in_flight: int = 0, running: int = 0, **more: object) -> Observation:
    machines = tuple(Instance(f"i-{n}", f"app-tier-instance-{n + 1}", "running", float(n)) for n in range(running))
    return Observation(NOW, Depth(visible, in_flight, 0), machines, **more)  # type: ignore[arg-type]


def decided(observation: Observation, bounds: Limits, history: tuple[Need, ...]) -> Decision:
    wanted = policy(observation)
    past = recent((*history, Need(NOW, wanted.desired)), NOW, bounds.quiet_seconds)
    return clamp(stabilise(wanted, past, observation, bounds), bounds)


@given(observations, limits, needs)
def test_the_decision_is_within_the_limits(observation: Observation, bounds: Limits, history: tuple[Need, ...]) -> None:
    assert bounds.least <= decided(observation, bounds, history).desired <= bounds.most


@given(observations, limits, needs, st.integers(1, 1000))
def test_more_backlog_never_asks_for_fewer(
    observation: Observation, bounds: Limits, history: tuple[Need, ...], more: int
) -> None:
    depth = observation.depth
    fuller = Observation(
        NOW, Depth(depth.visible + more, depth.in_flight, depth.delayed), observation.instances, observation.intents
    )
    assert decided(fuller, bounds, history).desired >= decided(observation, bounds, history).desired


@given(observations, needs)
def test_never_below_what_is_in_flight(observation: Observation, history: tuple[Need, ...]) -> None:
    bounds = Limits(0, 10_000, 10.0)
    assert decided(observation, bounds, history).desired >= observation.depth.in_flight


@given(observations, limits, needs)
def test_no_plan_passes_the_cap(observation: Observation, bounds: Limits, history: tuple[Need, ...]) -> None:
    acts = plan(decided(observation, bounds, history), observation, bounds, 60.0)
    launched = sum(len(act.names) for act in acts if isinstance(act, Launch))
    assert launched == 0 or observation.machines + launched <= bounds.most


@given(observations, limits, needs)
def test_a_plan_reaches_the_decision_or_the_cap(
    observation: Observation, bounds: Limits, history: tuple[Need, ...]
) -> None:
    decision = decided(observation, bounds, history)
    acts = plan(decision, observation, bounds, 60.0)
    launched = sum(len(act.names) for act in acts if isinstance(act, Launch))
    drained = sum(len(act.ids) for act in acts if isinstance(act, Drain))
    after = observation.capacity + launched - drained
    if decision.desired < observation.capacity:
        # What is only intended cannot be drained yet: that waits for the tick that sees it.
        assert after == max(decision.desired, observation.intended)
    else:
        assert after == decision.desired or observation.machines + launched >= bounds.most


@given(observations, limits, needs, st.randoms())
def test_the_order_of_instances_does_not_matter(
    observation: Observation, bounds: Limits, history: tuple[Need, ...], random: object
) -> None:
    shuffled = list(observation.instances)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = Observation(NOW, observation.depth, tuple(shuffled), observation.intents)
    decision = decided(observation, bounds, history)
    assert decided(other, bounds, history) == decision

    def as_sets(one: Observation) -> list[object]:
        return [
            (type(act), sorted(getattr(act, "ids", getattr(act, "names", ()))))
            for act in plan(decision, one, bounds, 60)
        ]

    assert as_sets(other) == as_sets(observation)


@given(observations, limits)
def test_only_staying_instances_are_drained_and_none_twice(observation: Observation, bounds: Limits) -> None:
    acts = plan(Decision(0, ""), observation, bounds, 60.0)
    drained = [one for act in acts if isinstance(act, Drain) for one in act.ids]
    assert len(set(drained)) == len(drained)
    assert set(drained) <= {one.id for one in observation.staying}


@given(st.lists(st.integers(1, 40).map("app-tier-instance-{}".format)), st.integers(0, 40))
def test_names_are_free_and_lowest(taken: list[str], count: int) -> None:
    names = free_names(taken, count)
    assert len(names) == len(set(names)) == count
    assert not set(names) & set(taken)


def test_one_worker_a_message_up_to_the_cap_at_once() -> None:
    decision = decided(seen(visible=60, in_flight=40), LIMITS, ())
    assert decision.desired == 15
    assert plan(decision, seen(visible=100), LIMITS, 60.0) == [
        Launch(tuple(f"app-tier-instance-{n}" for n in range(1, 16)))
    ]
    assert "60 waiting, 40 in work" in decision.reason
    assert "cap 15" in decision.reason


def test_the_published_figure_17_at_a_cap_of_15() -> None:
    # Two standing instances outside the pool (web and controller) and the rule's 15.
    assert decided(seen(visible=1000), LIMITS, ()).desired + 2 == 17


def test_pending_instances_and_intents_count_as_capacity() -> None:
    pending = (Instance("i-1", "app-tier-instance-1", "pending", NOW),)
    observation = Observation(NOW, Depth(3, 0, 0), pending, (Intent("t", ("app-tier-instance-2",), NOW),))
    [launch] = plan(decided(observation, LIMITS, ()), observation, LIMITS, 60.0)
    assert isinstance(launch, Launch)
    assert len(launch.names) == 1


def test_a_zero_must_last_for_the_whole_quiet_time() -> None:
    observation = seen(running=15)
    assert decided(observation, LIMITS, ()).desired == 15  # just started: one reading proves nothing
    assert decided(observation, LIMITS, (Need(NOW - 9, 0),)).desired == 15
    assert decided(observation, LIMITS, (Need(NOW - 12, 0), Need(NOW - 5, 0))).desired == 0


def test_readings_of_100_0_100_29_100_never_shrink_the_pool() -> None:
    history: tuple[Need, ...] = ()
    for second, count in enumerate([100, 0, 100, 29, 100, 0]):
        wanted = policy(seen(visible=count, running=15))
        at = NOW - 6 + second
        history = recent((*history, Need(at, wanted.desired)), at, LIMITS.quiet_seconds)
        observation = Observation(at, Depth(count, 0, 0), seen(running=15).instances)
        assert clamp(stabilise(wanted, history, observation, LIMITS), LIMITS).desired == 15


def test_the_pool_shrinks_to_the_largest_need_within_the_quiet_time() -> None:
    history = (Need(NOW - 11, 3), Need(NOW - 8, 7), Need(NOW - 2, 1))
    decision = decided(seen(visible=1, running=15), LIMITS, history)
    assert decision.desired == 7
    assert "needed within the last 10 s" in decision.reason


def test_a_lowered_cap_is_honoured_at_once() -> None:
    assert decided(seen(visible=50, running=15), Limits(0, 5, 10.0), (Need(NOW - 5, 50),)).desired == 5


def test_the_minimum_is_kept() -> None:
    decision = decided(seen(), Limits(2, 15, 10.0), (Need(NOW - 20, 0),))
    assert decision.desired == 2
    assert "at least 2" in decision.reason


def test_draining_instances_hold_their_place_under_the_cap() -> None:
    leaving = tuple(Instance(f"i-{n}", f"app-tier-instance-{n + 1}", "running", 0.0, NOW - 1) for n in range(15))
    observation = Observation(NOW, Depth(10, 0, 0), leaving)
    assert plan(decided(observation, LIMITS, ()), observation, LIMITS, 60.0) == []


def test_what_does_not_leave_in_time_is_ended() -> None:
    late = Instance("i-1", "n", "running", 0.0, drain_since=NOW - 61)
    patient = Instance("i-2", "m", "running", 0.0, drain_since=NOW - 59)
    stopped = Instance("i-3", "o", "stopped", 0.0)
    observation = Observation(NOW, Depth(0, 0, 0), (late, patient, stopped))
    assert plan(Decision(0, ""), observation, LIMITS, 60.0) == [Terminate(("i-1", "i-3"))]


def test_pending_and_young_instances_leave_first() -> None:
    old, young = (Instance(f"i-{at}", "n", "running", float(at)) for at in (1, 2))
    booting = Instance("i-0", "n", "pending", 0.0)
    observation = Observation(NOW, Depth(0, 0, 0), (old, young, booting))
    assert plan(Decision(2, ""), observation, LIMITS, 60.0) == [Drain(("i-0",))]
    assert plan(Decision(1, ""), observation, LIMITS, 60.0) == [Drain(("i-0", "i-2"))]


@pytest.mark.parametrize("quiet", [0.0, 10.0])
def test_recent_keeps_what_covers_the_window(quiet: float) -> None:
    history = tuple(Need(NOW - age, age) for age in (30, 20, 10, 5, 0))
    kept = recent(history, NOW, quiet)
    assert kept[0].at <= NOW - quiet
    assert kept[-1].at == NOW
