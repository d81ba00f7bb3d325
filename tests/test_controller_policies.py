"""Every policy, by what must hold for all of them: Hypothesis owns these properties."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller import calendar
from controller.estimates import Spread, Waiting
from controller.policies import backlog_per_instance, deadline, per_message, qos, schedule, step
from controller.policy import (
    Decision,
    Intent,
    Limits,
    Measured,
    Need,
    Observation,
    Policy,
    Terms,
    decide,
)
from controller.sightings import Sighting
from shoal import plugins
from shoal.ports import MOST_IN_PROGRESS, Beat, Depth, Instance
from tests.controller_fixtures import NOW, with_workers

POLICIES: dict[str, Policy] = {
    module.__name__.rpartition(".")[2]: module.policy
    for module in (per_message, qos, backlog_per_instance, step, schedule, deadline)
}
few = settings(max_examples=40)  # there are six policies
TOLD = Terms(Limits(0, 15, 10.0))
every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)

depths = st.builds(Depth, st.integers(0, 10_000), st.integers(0, 500), st.integers(0, 50))
states = st.sampled_from(["pending", "running", "running", "running", "shutting-down", "stopping", "stopped"])
instances = st.lists(
    st.builds(Instance, st.uuids().map(str), st.integers(1, 40).map("app-tier-instance-{}".format), states,
              st.floats(NOW - 1000, NOW), st.none() | st.floats(NOW - 1000, NOW), st.just("")),
    max_size=30, unique_by=lambda one: one.id,
).map(tuple)  # fmt: skip
intents = st.lists(
    st.builds(Intent, st.uuids().map(str), st.lists(st.just("n"), min_size=1, max_size=5).map(tuple), st.just(NOW)),
    max_size=2,
).map(tuple)
spreads = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.1, 32)), min_size=1, max_size=5).map(
    lambda samples: Spread(tuple(samples))
)
lines = st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 500)), max_size=5).map(
    lambda parts: tuple(
        Waiting(count, age)
        for count, age in zip(
            sorted(count for count, _ in parts), sorted((age for _, age in parts), reverse=True), strict=True
        )
    )
)
measures = st.builds(Measured, spreads, spreads, st.floats(0, 50), lines)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    machines = draw(instances)
    seen = {
        one.id: Sighting(NOW - draw(st.floats(0, 500)), beat=draw(st.none() | st.builds(Beat, st.integers(1, 9))))
        for one in machines
        if draw(st.booleans())
    }
    return Observation(NOW, draw(depths), machines, draw(intents), seen, draw(measures))


limits = st.builds(
    lambda least, more, quiet, window: Limits(least, least + more, quiet, window, 0.05),
    st.integers(0, 5),
    st.integers(1, 30),
    st.floats(0, 60),
    st.floats(0, 60),
)
terms = st.builds(
    Terms,
    limits,
    st.floats(0.5, 600),
    st.floats(0.5, 100),
    st.floats(0.1, 1),
    calendar=st.sampled_from([calendar.Calendar(), calendar.parse("daily 00:00-24:00 3", "UTC")]),
)
needs = st.lists(st.builds(Need, st.floats(NOW - 200, NOW), st.integers(0, 100)), max_size=20).map(tuple)


@every_policy
@few
@given(observations(), terms, needs)
def test_within_the_limits(policy: Policy, observation: Observation, told: Terms, history: tuple[Need, ...]) -> None:
    decision, _ = decide(policy, observation, history, told)
    assert told.limits.least <= decision.desired <= told.limits.most


@every_policy
@few
@given(observations(), terms, needs, st.integers(1, 1000))
def test_more_backlog_never_asks_for_fewer(
    policy: Policy, observation: Observation, told: Terms, history: tuple[Need, ...], more: int
) -> None:
    depth = observation.depth
    fuller = replace(observation, depth=replace(depth, visible=depth.visible + more))
    assert policy(fuller, told).desired >= policy(observation, told).desired
    assert decide(policy, fuller, history, told)[0].desired >= decide(policy, observation, history, told)[0].desired


@every_policy
@few
@given(observations(), terms, needs)
def test_never_below_what_is_in_flight_as_workers_hold_it(
    policy: Policy, observation: Observation, told: Terms, history: tuple[Need, ...]
) -> None:
    free = replace(told, limits=replace(told.limits, most=10_000))
    decision, _ = decide(policy, observation, history, free)
    assert decision.desired * MOST_IN_PROGRESS >= observation.depth.in_flight
    assert decision.desired > 0 or not observation.depth.total


@every_policy
@few
@given(st.integers(0, 500), st.integers(0, 60))
@example(2, 1)
def test_settles_on_steady_input(policy: Policy, backlog: int, workers: int) -> None:
    told = Terms(Limits(0, 50, 0.0, 0.0), scale_factor=0.5)
    seen = []
    for _ in range(12):
        decision, _ = decide(policy, with_workers(workers, Depth(backlog, 0, 0)), (Need(NOW - 1, 0),), told)
        workers = decision.desired
        seen.append(workers)
    assert len(set(seen[-5:])) == 1, seen


@every_policy
@few
@given(st.integers(0, 60), st.floats(0, 50), st.integers(0, 3))
def test_zero_backlog_reaches_the_minimum(policy: Policy, workers: int, arrivals: float, least: int) -> None:
    told = Terms(Limits(least, 50, 10.0), scale_factor=0.3)
    observation = with_workers(workers, Depth(0, 0, 0))
    observation = replace(observation, measured=replace(observation.measured, arrivals=arrivals))
    quiet = (Need(NOW - 30, 0), Need(NOW - 5, 0))
    assert decide(policy, observation, quiet, told)[0].desired == least


@every_policy
@few
@given(observations(), terms, st.randoms())
def test_the_order_of_instances_does_not_matter(
    policy: Policy, observation: Observation, told: Terms, random: object
) -> None:
    shuffled = list(observation.instances)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert policy(replace(observation, instances=tuple(shuffled)), told) == policy(observation, told)


@every_policy
def test_every_policy_is_found_by_its_name_and_says_its_need(policy: Policy) -> None:
    name = policy.__module__.rpartition(".")[2]
    assert plugins.load(name, "controller.policies", "policy") is policy
    assert "need" in policy(with_workers(0, Depth(5, 0, 0)), Terms(Limits(0, 15, 10.0))).reason
    assert set(plugins.available("controller.policies")) == set(POLICIES)


# per_message


def test_one_worker_a_message_up_to_the_cap_at_once() -> None:
    observation = with_workers(0, Depth(60, 40, 1))
    assert per_message.policy(observation, Terms(Limits(0, 15, 10.0))) == Decision(101, "one each: need 101")
    decision, needs = decide(per_message.policy, observation, (Need(NOW - 20, 1), Need(NOW - 11, 2)), TOLD)
    assert decision == Decision(15, "one each: need 101; cap 15")
    assert needs == (Need(NOW - 11, 2), Need(NOW, 101))
    assert decide(per_message.policy, observation, (Need(NOW - 9, 1),), TOLD)[1] == (Need(NOW - 9, 1), Need(NOW, 101))


def test_the_published_17_at_a_cap_of_15() -> None:
    standing = 2  # the web tier's and the controller's instance are not of the pool
    decision, _ = decide(per_message.policy, with_workers(0, Depth(1000, 0, 0)), (), Terms(Limits(0, 15, 10.0)))
    assert decision.desired + standing == 17


# qos


@pytest.mark.parametrize(
    ("messages", "workers", "factor", "expected"),
    [
        (100, 0, 1.0, 15),  # ceil(100 / 5) = 20, of which 15 are feasible
        (100, 0, 0.5, 8),  # ceil(15 x 0.5)
        (50, 0, 1.0, 10),
        (51, 0, 1.0, 11),
        (50, 4, 0.5, 7),  # 4 + ceil(6 x 0.5)
        (10, 9, 0.5, 6),  # 9 + ceil(-7 x 0.5) = 9 - 3
        (1, 0, 1.0, 1),
        (0, 9, 0.5, 0),
    ],
)
def test_qos_as_published(messages: int, workers: int, factor: float, expected: int) -> None:
    told = Terms(Limits(0, 15, 10.0), qos=5, scale_factor=factor)
    assert qos.policy(with_workers(workers, Depth(messages, 0, 0)), told).desired == expected


def test_qos_says_its_steps() -> None:
    told = Terms(Limits(0, 15, 10.0), qos=5, scale_factor=0.5)
    reason = qos.policy(with_workers(4, Depth(50, 0, 0)), told).reason
    assert reason == "one for 5: 10 feasible, change +3: need 7"
    assert qos.policy(with_workers(4, Depth(0, 0, 0)), told).reason == "no messages: need 0"


# backlog_per_instance


def test_aws_own_example_of_a_backlog_per_instance() -> None:
    # "If the latency is 10 seconds and a message takes 0.1 s, 100 messages an instance; 1,500 need 15."
    observation = with_workers(10, Depth(1500, 0, 0))
    observation = replace(observation, measured=Measured(Spread.guess(0.1)))
    decision = backlog_per_instance.policy(observation, Terms(Limits(0, 50, 10.0), target_seconds=10))
    assert decision == Decision(15, "0.1 s each, target 10 s: 100 for each, need 15")


def test_a_message_that_takes_longer_than_the_target_has_a_worker_of_its_own() -> None:
    observation = replace(with_workers(0, Depth(4, 3, 0)), measured=Measured(Spread.guess(90)))
    assert backlog_per_instance.policy(observation, Terms(Limits(0, 50, 10.0), target_seconds=60)).desired == 7


# step


@pytest.mark.parametrize(("backlog", "expected"), [(0, 0), (1, 1), (9, 1), (10, 3), (49, 3), (50, 8), (10_000, 8)])
def test_steps(backlog: int, expected: int) -> None:
    told = Terms(Limits(0, 50, 10.0), steps=step.parse("1:1 10:3 50:8"))
    assert step.policy(with_workers(0, Depth(backlog, 0, 0)), told).desired == expected


def test_a_step_is_named() -> None:
    told = Terms(Limits(0, 50, 10.0), steps=((2, 2), (10, 3)))
    assert step.policy(with_workers(0, Depth(12, 0, 0)), told).reason == "step from 10 on: need 3"
    assert step.policy(with_workers(0, Depth(1, 0, 0)), told).reason == "below the first step: need 0"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1-1", "expected steps like"),
        ("1:a", "expected steps like"),
        ("1:2:3", "expected steps like"),
        ("10:3 1:1", "must grow"),
        ("10:3 10:4", "must grow"),
        ("1:3 10:2", "must grow"),
        ("0:1", "backlog of 1 or more"),
        ("1:0", "1 worker or more"),
    ],
)
def test_wrong_steps_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        step.parse(text)
    assert step.parse("") == ()
    assert step.parse("1:1 2:1") == ((1, 1), (2, 1))


# schedule


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


WEEK = "Mon-Fri 08:00-18:00 3; sat,Sun 10:00-14:00 1\ndaily 22:00-06:00 2; Sun-Mon 23:00-24:00 5;"


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2023-11-13 07:59:59", 0),  # a Monday
        ("2023-11-13 08:00", 3),
        ("2023-11-13 17:59:59", 3),
        ("2023-11-13 18:00", 0),
        ("2023-11-13 22:00", 2),
        ("2023-11-13 23:00", 5),
        ("2023-11-14 00:00", 2),
        ("2023-11-14 05:59", 2),
        ("2023-11-14 06:00", 0),
        ("2023-11-17 12:00", 3),
        ("2023-11-18 12:00", 1),
        ("2023-11-19 12:00", 1),
        ("2023-11-19 23:30", 5),
        ("2023-11-20 00:30", 2),  # Sunday's night goes on into Monday
    ],
)
def test_the_calendar(when: str, expected: int) -> None:
    assert calendar.parse(WEEK, "UTC").least(at(when)) == expected


def test_the_calendar_follows_the_clocks_on_its_walls() -> None:
    week = calendar.parse("daily 08:00-09:00 3", "Europe/Berlin")
    assert [week.least(at(f"2023-07-03 {hour}:30")) for hour in ("05", "06", "07")] == [0, 3, 0]
    assert [week.least(at(f"2023-12-04 {hour}:30")) for hour in ("06", "07", "08")] == [0, 3, 0]
    assert calendar.parse(" \n;", "UTC") == calendar.Calendar()
    assert calendar.Calendar().least(NOW) == 0


@pytest.mark.parametrize(
    ("text", "zone", "why"),
    [
        ("Mon 8-18 3", "UTC", "is not like"),
        ("Mon 08:00-18:00", "UTC", "is not like"),
        ("Foo 08:00-18:00 3", "UTC", "'Foo' is no day"),
        ("Mon- 08:00-18:00 3", "UTC", "'' is no day"),
        ("Mon 08:00-25:00 3", "UTC", "'25:00' is no time of day"),
        ("Mon 08:60-18:00 3", "UTC", "'08:60' is no time of day"),
        ("Mon 08:00-24:01 3", "UTC", "'24:01' is no time of day"),
        ("", "Mars/Base", "no time zone 'Mars/Base'"),
        ("", "../etc", "no time zone"),
    ],
)
def test_a_wrong_calendar_is_refused(text: str, zone: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        calendar.parse(text, zone)


def test_the_schedule_is_a_floor_under_the_deadline() -> None:
    told = Terms(Limits(0, 15, 10.0), calendar=calendar.parse("daily 00:00-24:00 3", "UTC"))
    assert schedule.policy(with_workers(0, Depth(0, 0, 0)), told) == Decision(
        3, "nothing waits: need 0; the calendar wants 3"
    )
    busy = with_workers(0, Depth(600, 0, 0))
    assert schedule.policy(busy, told) == deadline.policy(busy, told)
    assert schedule.policy(busy, told).desired > 3


# deadline


def line(*parts: tuple[int, float]) -> tuple[Waiting, ...]:
    return tuple(Waiting(count, age) for count, age in parts)


def asked(
    workers: int,
    waiting: tuple[Waiting, ...],
    service: float = 1.0,
    boot: float = 10.0,
    arrivals: float = 0.0,
    target: float = 60.0,
    visible: int | None = None,
) -> Decision:
    total = waiting[-1].count if visible is None else visible
    observation = replace(
        with_workers(workers, Depth(total, 0, 0)),
        measured=Measured(Spread.guess(service), Spread.guess(boot), arrivals, waiting),
    )
    return deadline.policy(observation, Terms(Limits(0, 100, 10.0), target_seconds=target))


@pytest.mark.parametrize("photos", [1, 8, 50])
def test_a_handful_gets_one_worker(photos: int) -> None:
    assert asked(0, line((photos, 0))).desired == 1


def test_the_smallest_pool_that_is_in_time() -> None:
    # A new worker has 60 - 10 seconds: fifty photos of a second.
    assert asked(0, line((51, 0))).desired == 2
    assert asked(0, line((500, 0))).desired == 10
    assert asked(0, line((501, 0))).desired == 11
    hurried = Terms(Limits(0, 100, 10.0), target_seconds=20)
    assert decide(deadline.policy, with_workers(0, Depth(100, 0, 0)), (), hurried)[0].desired == 10
    # Ten that work already do six hundred.
    assert asked(10, line((600, 0))).desired == 10
    assert asked(10, line((601, 0))).desired == 11
    assert asked(10, line((540, 0))).desired == 9
    assert asked(10, line((541, 0))).desired == 10
    assert asked(10, line((1, 0))).desired == 1


def test_the_sentence_of_the_issue() -> None:
    decision = asked(62, line((412, 0)), service=9.0)
    assert decision.reason == "9 s each, target 60 s: need 62"
    assert asked(0, line((412, 3)), service=9.0, boot=10).reason == (
        "9 s each, oldest 3 s, a launch takes 10 s, target 60 s: need 79"
    )
    rated = asked(3, line((20, 0)), arrivals=2.34).reason
    assert rated == "1 s each, 2.3 arrive a second, target 60 s: need 3"
    slow = asked(0, line((1, 0)), service=240.0, boot=120.0, arrivals=0.04).reason
    assert slow.startswith("240 s each, a launch takes 120 s, target ")


def test_the_older_the_line_the_more_workers_until_it_is_too_late() -> None:
    needs = [asked(1, line((300, age))).desired for age in (0, 10, 15, 20)]
    assert needs == sorted(needs)
    assert needs[0] < needs[-1]
    # Later than that, a new worker gets half a target of work, not a photo each.
    assert asked(1, line((300, 500))).desired == asked(1, line((300, 59))).desired == 1 + math.ceil((300 - 40) / 30)


def test_each_part_of_the_line_has_its_own_deadline() -> None:
    # All of it by the time of its oldest would need 1000 / 20; the young ones have longer.
    one_age = asked(20, line((1000, 40))).desired
    by_parts = asked(20, line((100, 40), (1000, 0))).desired
    assert by_parts < one_age
    assert by_parts == 17


def test_a_crowd_that_may_need_the_whole_cap_gets_its_machines_sooner() -> None:
    crowd, burst = line((600, 7), (1200, 2)), line((1200, 2))  # in both halves of the last boot time; in one
    told = asked(1, crowd, arrivals=30)
    assert "target 60 s, 36 s while so many arrive: need" in told.reason
    assert told.desired > 1.5 * asked(1, burst, arrivals=30).desired
    assert asked(1, crowd, arrivals=20).desired == asked(1, burst, arrivals=20).desired
    assert "36 s" not in asked(1, crowd, arrivals=30, boot=60).reason  # no launch would be in time


def test_what_is_late_sends_nobody_away_and_starts_nobody_who_would_find_no_work() -> None:
    late = asked(5, line((10, 100)))
    assert late.desired == 5
    # The five finish 100 photos long before a worker that takes ten minutes to boot would be up.
    assert asked(5, line((100, 58)), boot=600).desired == 5


def test_a_launch_that_would_be_up_too_late_is_not_made() -> None:
    # One worker, 70 photos of a second, a boot of two minutes: late by ten seconds, and no launch could help.
    assert asked(1, line((70, 0)), boot=120).desired == 1
    assert asked(0, line((70, 0)), boot=120).desired == 3


def test_those_that_boot_count_from_when_they_are_up() -> None:
    told = Terms(Limits(0, 100, 10.0))
    measured = Measured(Spread.guess(1.0), Spread.guess(20.0), 0.0, line((80, 0)))
    machines = tuple(Instance(f"i-{n}", "n", "running", NOW) for n in range(2))
    booting = {"i-0": Sighting(NOW - 15), "i-1": Sighting(NOW - 5)}

    def need(photos: int, **more: object) -> int:
        observation = Observation(NOW, Depth(photos, 0, 0), machines, (), booting, replace(measured, waiting=()))
        return deadline.policy(replace(observation, **more), told).desired  # type: ignore[arg-type]

    # 55 s and 45 s of work until the target: the first to be up is counted first.
    assert need(55) == 1
    assert need(56) == 2
    assert need(100) == 2
    assert need(101) == 3
    assert need(140, intents=(Intent("t", ("a",), NOW),)) == 3
    assert need(141, intents=(Intent("t", ("a",), NOW),)) == 4
    assert need(150, intents=(Intent("t", ("a",), NOW - 10),)) == 3
    assert need(151, intents=(Intent("t", ("a",), NOW - 10),)) == 4
    assert need(160, intents=(Intent("t", ("a",), NOW - 99),)) == 3
    # One that takes longer than any before is expected at any moment, not earlier than now.
    assert need(60 + 45, sightings={**booting, "i-0": Sighting(NOW - 500)}) == 2
    # Nothing known of it: a running one works, a pending one has its boot before it.
    assert need(120, sightings={}) == 2
    pending = tuple(replace(one, state="pending", launched_at=NOW - 10) for one in machines)
    assert need(100, sightings={}, instances=pending) == 2
    assert need(101, sightings={}, instances=pending) == 3


def test_arrivals_are_kept_pace_with() -> None:
    assert asked(3, line((3, 0)), arrivals=3.0).desired == 3
    assert asked(3, line((3, 0)), arrivals=3.5).desired == 4
    assert asked(3, line((3, 0)), arrivals=8.0, service=0.5).desired == 4
    assert asked(3, (), arrivals=3.5, visible=0) == Decision(0, "nothing waits: need 0")


def test_what_is_held_starts_no_worker_for_itself() -> None:
    """A new one would find work only in what nobody has taken yet, delayed messages among it."""

    def need(depth: Depth) -> int:
        observation = replace(with_workers(1, depth), measured=Measured(Spread.guess(10.0), Spread.guess(10.0)))
        return deadline.policy(observation, Terms(Limits(0, 100, 10.0))).desired

    assert need(Depth(0, 32, 0)) == 1
    assert need(Depth(5, 27, 0)) == 2
    assert need(Depth(0, 26, 6)) == 3
    assert need(Depth(32, 0, 0)) == 7


def test_what_the_counts_show_besides_just_came() -> None:
    assert asked(10, line((10, 50)), visible=600).desired == asked(10, line((10, 50), (600, 0))).desired == 10
    assert asked(10, line((10, 50)), visible=601).desired == 11
