"""From a decision to acts, and what is known of instances: pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.budget import Allowance
from controller.experience import Experience, confirmed
from controller.plan import NEVER_CAME, SEVERAL, Drain, Launch, Plan, Terminate, free_names, gate, plan
from controller.policy import Decision, Intent, Limits, Measured, Observation
from controller.sightings import (
    LOOK_AGAIN_SECONDS,
    Patience,
    Sighting,
    boots,
    bulk_since,
    dropped_since,
    finished_since,
    look,
    overdue,
    told,
    why_lost,
)
from controller.tally import Tally
from shoal.ledger import Refusal
from shoal.ports import Beat, Depth, Instance

NOW = 1000.0
LIMITS = Limits(0, 15, 10.0)
PATIENCE = Patience(boot=120.0, silent=60.0, drain=30.0)
EMPTY = Depth(0, 0, 0)

states = st.sampled_from(["pending", "running", "running", "running", "shutting-down", "stopping", "stopped"])
instances = st.lists(
    st.builds(Instance, st.integers(0, 99).map("i-{}".format), st.integers(1, 40).map("app-tier-instance-{}".format),
              states, st.floats(0, NOW), st.none() | st.floats(NOW - 1000, NOW), st.just("")),
    max_size=30, unique_by=lambda one: one.id,
).map(tuple)  # fmt: skip
intents = st.lists(
    st.builds(Intent, st.uuids().map(str), st.lists(st.just("n"), min_size=1, max_size=5).map(tuple), st.just(NOW)),
    max_size=2,
).map(tuple)
times = st.floats(NOW - 500, NOW)
beats = st.builds(Beat, st.integers(1, 9), st.integers(0, 9), st.integers(0, 32), leaving=st.booleans())
sightings = st.builds(
    Sighting, times, st.booleans(), st.none() | beats, st.none() | times, times, times, st.none() | times,
    st.none() | times,
)  # fmt: skip
limits = st.builds(lambda least, more: Limits(least, least + more, 10.0), st.integers(0, 5), st.integers(1, 30))
allowances = st.none() | st.builds(Allowance, st.integers(0, 20), st.just("budget"))


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    machines = draw(instances)
    before = {one.id: draw(sightings) for one in machines if draw(st.booleans())}
    register = draw(st.dictionaries(st.sampled_from([one.id for one in machines] or ["x"]), beats, max_size=5))
    return Observation(NOW, EMPTY, machines, draw(intents), look(before, machines, register, NOW, PATIENCE))


def counts(planned: Plan) -> tuple[int, int]:
    launched = sum(len(act.names) for act in planned.acts if isinstance(act, Launch))
    drained = sum(len(act.ids) for act in planned.acts if isinstance(act, Drain) and not act.why)
    return launched, drained


desires = st.integers(0, 40).map(lambda desired: Decision(desired, ""))


@given(desires, observations(), limits, allowances)
def test_no_plan_passes_the_cap_or_the_budget(
    decision: Decision, seen: Observation, bounds: Limits, allowance: Allowance | None
) -> None:
    launched, _ = counts(plan(decision, seen, bounds, PATIENCE, allowance))
    assert launched == 0 or seen.machines + launched <= bounds.most
    assert allowance is None or launched <= allowance.machines


@given(desires, observations(), limits, allowances)
def test_a_plan_reaches_the_decision_or_says_what_is_missing(
    decision: Decision, seen: Observation, bounds: Limits, allowance: Allowance | None
) -> None:
    planned = plan(decision, seen, bounds, PATIENCE, allowance)
    launched, drained = counts(planned)
    after = seen.capacity + launched - drained
    if decision.desired < seen.capacity:
        # What is only intended cannot be drained yet: that waits for the tick that sees it.
        assert after == max(decision.desired, seen.intended)
        assert planned.refused == ()
    else:
        assert after + sum(one.count for one in planned.refused) == decision.desired
        assert all(one.count > 0 and one.why for one in planned.refused)


@given(desires, observations(), limits)
def test_nobody_is_asked_or_ended_twice_and_no_busy_one_is_ended(
    decision: Decision, seen: Observation, bounds: Limits
) -> None:
    acts = plan(decision, seen, bounds, PATIENCE).acts
    named = [one for act in acts if not isinstance(act, Launch) for one in act.ids]
    assert len(set(named)) == len(named)
    assert set(named) <= {one.id for one in seen.instances}
    for act in acts:
        if isinstance(act, Terminate):
            for name in act.ids:
                sighting = seen.sightings[name]
                idle = sighting.beat is None or not sighting.beat.in_progress
                stuck = overdue(sighting, NOW, PATIENCE) and NOW - sighting.progressed > PATIENCE.drain
                [state] = [one.state for one in seen.instances if one.id == name]
                assert idle or stuck or state == "stopped"


@given(desires, observations(), limits, st.randoms())
def test_the_order_of_instances_does_not_matter(
    decision: Decision, seen: Observation, bounds: Limits, random: object
) -> None:
    shuffled = list(seen.instances)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def as_sets(one: Observation) -> list[tuple[str, str, list[str]]]:
        acts = plan(decision, one, bounds, PATIENCE).acts
        return sorted(
            (type(act).__name__, getattr(act, "why", ""), sorted(getattr(act, "ids", getattr(act, "names", ()))))
            for act in acts
        )

    assert as_sets(replace(seen, instances=tuple(shuffled))) == as_sets(seen)


@given(st.lists(st.integers(1, 40).map("app-tier-instance-{}".format)), st.integers(0, 40))
def test_names_are_free_and_lowest(taken: list[str], count: int) -> None:
    names = free_names(taken, count)
    assert len(names) == len(set(names)) == count
    assert not set(names) & set(taken)
    numbers = [int(name.rpartition("-")[2]) for name in names]
    highest = max(numbers, default=0)
    assert {f"app-tier-instance-{n}" for n in range(1, highest + 1)} <= set(names) | set(taken)


def observed(*machines: Instance, **seen: Sighting) -> Observation:
    return Observation(NOW, EMPTY, machines, (), {name.replace("_", "-"): one for name, one in seen.items()})


def test_the_gate_says_who_holds_places_and_what_the_budget_keeps() -> None:
    leaving = tuple(Instance(f"i-{n}", "n", "running", 0.0, NOW - 1) for n in range(12))
    staying = Instance("i-x", "m", "running", 0.0)
    seen = observed(*leaving, staying)
    assert gate(5, seen, LIMITS, None) == (2, (Refusal(3, "cap 15, 12 on their way out count"),))
    assert gate(5, seen, LIMITS, Allowance(1, "budget")) == (
        1,
        (Refusal(3, "cap 15, 12 on their way out count"), Refusal(1, "budget")),
    )
    assert gate(2, seen, LIMITS, Allowance(2, "budget")) == (2, ())
    assert gate(1, observed(*leaving, *leaving[:6]), LIMITS, None) == (
        0,
        (Refusal(1, "cap 15, 18 on their way out count"),),
    )


def test_the_plan_holds_the_budget_and_says_so() -> None:
    planned = plan(Decision(3, ""), observed(), LIMITS, PATIENCE, Allowance(2, "budget"))
    names = ("app-tier-instance-1", "app-tier-instance-2")
    assert planned == Plan((Launch(names),), (Refusal(1, "budget"),))


def test_pending_instances_and_intents_count_as_capacity() -> None:
    pending = (Instance("i-1", "app-tier-instance-1", "pending", NOW),)
    seen = Observation(NOW, Depth(3, 0, 0), pending, (Intent("t", ("app-tier-instance-2",), NOW),))
    assert plan(Decision(3, ""), seen, LIMITS, PATIENCE) == Plan((Launch(("app-tier-instance-2",)),))
    assert plan(Decision(2, ""), seen, LIMITS, PATIENCE) == Plan()
    assert plan(Decision(1, ""), seen, LIMITS, PATIENCE) == Plan((Drain(("i-1",)),))


def test_the_idle_leave_first_then_the_booting_then_the_young() -> None:
    old, young = (Instance(f"i-{at}", "n", "running", float(at)) for at in (1, 2))
    booting = Instance("i-0", "n", "pending", 0.0)
    seen = observed(old, young, booting)

    def leaving(desired: int, one: Observation) -> tuple[str, ...]:
        [act] = plan(Decision(desired, ""), one, LIMITS, PATIENCE).acts
        assert isinstance(act, Drain)
        return act.ids

    assert leaving(2, seen) == ("i-0",)
    assert leaving(1, seen) == ("i-0", "i-2")
    busy = replace(
        seen, sightings={"i-2": Sighting(0.0, beat=Beat(1, in_progress=9)), "i-1": Sighting(0.0, beat=Beat(1))}
    )
    assert leaving(2, busy) == ("i-0",)
    assert leaving(1, busy) == ("i-0", "i-1")
    busier = replace(
        seen,
        sightings={
            "i-2": Sighting(0.0, beat=Beat(1, in_progress=2)),
            "i-1": Sighting(0.0, beat=Beat(1, in_progress=3)),
        },
    )
    assert leaving(1, busier) == ("i-0", "i-2")
    assert leaving(0, busier) == ("i-0", "i-2", "i-1")


# what is lost, what is overdue


def one(state: str = "running", drain_since: float | None = None, name: str = "i-1") -> Instance:
    return Instance(name, "n", state, 0.0, drain_since)


def test_what_does_not_leave_in_time_is_ended() -> None:
    asked_long_ago = Sighting(0.0, drain_seen=NOW - 30.1)
    seen = observed(one(drain_since=1.0), i_1=asked_long_ago)
    assert plan(Decision(0, ""), seen, LIMITS, PATIENCE).acts == (Terminate(("i-1",), "did not leave"),)
    # Whoever stands before it in the listing.
    others = observed(one(name="i-0"), one(name="i-2"), one(drain_since=1.0), i_1=asked_long_ago, i_2=Sighting(0.0))
    assert plan(Decision(2, ""), others, LIMITS, PATIENCE).acts == (Terminate(("i-1",), "did not leave"),)
    pending = observed(one("pending", drain_since=1.0), i_1=asked_long_ago)
    assert plan(Decision(0, ""), pending, LIMITS, PATIENCE).acts == (Terminate(("i-1",), "did not leave"),)
    for patient in (
        observed(one(drain_since=1.0), i_1=replace(asked_long_ago, drain_seen=NOW - 30)),
        observed(one(drain_since=1.0), i_1=replace(asked_long_ago, progressed=NOW - 30)),
        observed(one("shutting-down", drain_since=1.0), i_1=asked_long_ago),
        observed(one(drain_since=1.0)),
        observed(one(), i_1=Sighting(0.0)),
    ):
        assert plan(Decision(patient.capacity, ""), patient, LIMITS, PATIENCE).acts == ()


def test_what_never_registered_is_replaced_at_once_and_ended_at_the_second_look() -> None:
    marked = Sighting(NOW - 121, lost_since=NOW)
    seen = observed(one(), i_1=marked)
    assert seen.capacity == 0
    assert plan(Decision(1, ""), seen, LIMITS, PATIENCE).acts == (Launch(("app-tier-instance-1",)),)
    again = observed(one(), i_1=replace(marked, lost_since=NOW - LOOK_AGAIN_SECONDS))
    assert plan(Decision(0, ""), again, LIMITS, PATIENCE).acts == (
        Terminate(("i-1",), "never registered within 120 s"),
    )
    early = observed(one(), i_1=replace(marked, lost_since=NOW - LOOK_AGAIN_SECONDS + 0.1))
    assert plan(Decision(0, ""), early, LIMITS, PATIENCE).acts == ()


def test_what_fell_silent_is_asked_first() -> None:
    silent = Sighting(0.0, beat=Beat(5), beat_changed=NOW - 61, lost_since=NOW - LOOK_AGAIN_SECONDS)
    acts = plan(Decision(0, ""), observed(one(), i_1=silent), LIMITS, PATIENCE).acts
    assert acts == (Drain(("i-1",), "silent for more than 60 s"),)
    asked = observed(one(drain_since=NOW), i_1=replace(silent, drain_seen=NOW))
    assert plan(Decision(0, ""), asked, LIMITS, PATIENCE).acts == ()
    late = observed(one(drain_since=1.0), i_1=replace(silent, drain_seen=NOW - 31))
    assert plan(Decision(0, ""), late, LIMITS, PATIENCE).acts == (Terminate(("i-1",), "did not leave"),)
    leaving = observed(one(), i_1=replace(silent, beat=Beat(5, leaving=True), drain_seen=NOW))
    assert plan(Decision(0, ""), leaving, LIMITS, PATIENCE).acts == ()
    stopped = observed(one("stopped"), i_1=silent)
    assert plan(Decision(0, ""), stopped, LIMITS, PATIENCE).acts == (Terminate(("i-1",), "stopped"),)


@pytest.mark.parametrize(
    ("state", "sighting", "why"),
    [
        ("running", Sighting(NOW - 120), ""),
        ("running", Sighting(NOW - 120.1), "never registered within 120 s"),
        ("pending", Sighting(NOW - 120.1), "never registered within 120 s"),
        ("shutting-down", Sighting(NOW - 999), ""),
        ("stopping", Sighting(NOW - 999), ""),
        ("stopped", Sighting(NOW), "stopped"),
        ("running", Sighting(0.0, beat=Beat(1), beat_changed=NOW - 60), ""),
        ("running", Sighting(0.0, beat=Beat(1), beat_changed=NOW - 60.1), "silent for more than 60 s"),
    ],
)
def test_who_is_lost(state: str, sighting: Sighting, why: str) -> None:
    assert why_lost(sighting, one(state), NOW, PATIENCE) == why


# looks


def test_the_first_look_knows_no_launch_and_later_ones_do() -> None:
    seen = look(None, [one()], {}, NOW, PATIENCE)
    assert seen == {"i-1": Sighting(NOW, launched_here=False)}
    seen = look(seen, [one(), one(name="i-2")], {}, NOW + 1, PATIENCE)
    assert seen == {"i-1": Sighting(NOW, launched_here=False), "i-2": Sighting(NOW + 1)}
    assert look(seen, [], {}, NOW + 2, PATIENCE) == {}


def test_beats_are_noted_by_the_own_clock_when_they_change() -> None:
    seen = look({}, [one()], {}, NOW, PATIENCE)
    first = look(seen, [one()], {"i-1": Beat(1)}, NOW + 1, PATIENCE)
    assert first["i-1"] == Sighting(NOW, True, Beat(1), NOW + 1, NOW + 1, NOW + 1)
    same = look(first, [one()], {"i-1": Beat(1)}, NOW + 2, PATIENCE)
    assert same == first
    alive = look(same, [one()], {"i-1": Beat(2, in_progress=1)}, NOW + 3, PATIENCE)["i-1"]
    assert (alive.beat, alive.first_beat, alive.beat_changed, alive.progressed) == (
        Beat(2, in_progress=1), NOW + 1, NOW + 3, NOW + 1,
    )  # fmt: skip
    done = look({"i-1": alive}, [one()], {"i-1": Beat(3, finished=1)}, NOW + 4, PATIENCE)["i-1"]
    assert done.progressed == NOW + 4
    restarted = look({"i-1": done}, [one()], {"i-1": Beat(1)}, NOW + 5, PATIENCE)["i-1"]
    assert (restarted.beat, restarted.beat_changed) == (Beat(1), NOW + 5)
    # By chance the same count, but another life of it.
    twin = look({"i-1": done}, [one()], {"i-1": Beat(3, finished=0)}, NOW + 5, PATIENCE)["i-1"]
    assert twin.beat_changed == NOW + 5
    # Struck off, as one that leaves does: what was known stays.
    assert look({"i-1": done}, [one()], {}, NOW + 6, PATIENCE)["i-1"] == done


def test_the_mark_and_the_own_word_are_both_a_leave() -> None:
    seen = look({}, [one(drain_since=5.0)], {}, NOW, PATIENCE)
    assert seen["i-1"].drain_seen == NOW
    assert look(seen, [one(drain_since=5.0)], {}, NOW + 1, PATIENCE)["i-1"].drain_seen == NOW
    assert look(seen, [one()], {}, NOW + 1, PATIENCE)["i-1"].drain_seen is None
    said = look({}, [one()], {"i-1": Beat(1, leaving=True)}, NOW, PATIENCE)
    assert said["i-1"].drain_seen == NOW
    assert not Observation(NOW, EMPTY, (one(),), sightings=said).staying
    deaf = look({}, [one(drain_since=5.0)], None, NOW, PATIENCE)
    assert (deaf["i-1"].drain_seen, deaf["i-1"].beat_changed) == (NOW, NOW)


def test_the_lost_are_marked_and_may_come_back() -> None:
    seen = look({"i-1": Sighting(NOW - 121)}, [one()], {}, NOW, PATIENCE)
    assert seen["i-1"].lost_since == NOW
    assert look(seen, [one()], {}, NOW + 1, PATIENCE)["i-1"].lost_since == NOW
    assert look(seen, [one()], {"i-1": Beat(1)}, NOW + 1, PATIENCE)["i-1"].lost_since is None
    assert look(seen, [one()], None, NOW + 1, PATIENCE)["i-1"].lost_since is None


# experience


def test_what_was_finished_between_two_looks() -> None:
    before = {"a": Beat(1, 10, 0, 5.0), "b": Beat(1, 3, 0, 2.0)}
    after = {
        "a": Beat(2, 14, 0, 7.0),
        "b": Beat(1, 1, 0, 0.5),  # was started again
        "c": Beat(1, 2, 0, 1.0),  # new
    }
    assert finished_since(before, after) == (4 + 1 + 2, 2.0 + 0.5 + 1.0)
    assert finished_since(after, after) == (0, 0.0)
    backwards = {"a": Beat(3, 14, 0, 6.0)}
    assert finished_since(after, backwards) == (0, 0.0)


def test_what_nobody_waited_for_counts_with_what_was_finished() -> None:
    before = {"a": Beat(1, 10, dropped=2), "b": Beat(1, 9, dropped=9)}
    after = {
        "a": Beat(2, 14, dropped=5),
        "b": Beat(1, 3, dropped=1),  # was started again
        "c": Beat(1, 2, dropped=2),  # new
    }
    assert dropped_since(before, after) == 3 + 1 + 2
    early = {"a": Beat(3, 14, dropped=6)}  # between its two counts: it comes with the next beat
    assert dropped_since(after, early) == 0
    assert dropped_since(told(after, early), {"a": Beat(4, 15, dropped=6)}) == 1
    known = Experience().look(NOW, Depth(9, 0, 0), (one(),), {"i-1": Beat(1)}, PATIENCE, 60.0)
    known = known.look(NOW + 1, Depth(0, 0, 0), (one(),), {"i-1": Beat(2, 9, dropped=7)}, PATIENCE, 60.0)
    known = known.look(NOW + 2, Depth(0, 0, 0), (one(),), {"i-1": Beat(3, 9, dropped=7)}, PATIENCE, 60.0)
    assert (known.tally.finished, known.tally.dropped) == (9, 7)


def test_photos_of_bulk_runs_count_by_themselves() -> None:
    before = {"a": Beat(1, 10, busy_seconds=5.0, bulk_finished=300), "b": Beat(1, bulk_finished=40)}
    after = {
        "a": Beat(2, 10, busy_seconds=6.0, bulk_finished=332),
        "b": Beat(1, bulk_finished=8),  # was started again
        "c": Beat(1, bulk_finished=2),  # new
    }
    assert bulk_since(before, after) == 32 + 8 + 2
    # The seconds of the photo that people wait for go on from its last count.
    assert told(before, after)["a"] == Beat(1, 10, busy_seconds=5.0, bulk_finished=332)
    known = Experience().look(NOW, EMPTY, (one(),), {"i-1": Beat(1, bulk_finished=7)}, PATIENCE, 60.0)
    for beat in (Beat(2, bulk_finished=39), Beat(3, bulk_finished=39), Beat(4, 1, bulk_finished=71)):
        known = known.look(NOW + 1, EMPTY, (one(),), {"i-1": beat}, PATIENCE, 60.0)
    assert (known.tally.finished, known.tally.arrived, known.tally.bulk_finished) == (1, 1, 64)


def test_the_work_of_a_photo_that_takes_many_beats_counts_whole() -> None:
    known = Experience()
    for second in range(19):
        beat = Beat(second, second // 9, 4, float(second))
        known = known.look(NOW + second, Depth(9, 0, 0), (one(),), {"i-1": beat}, PATIENCE, 60.0)
    assert known.service.samples[1:] == ((9.0, 0.95), (9.0, 1.0))


def test_boots_are_measured_once_from_launches_that_were_seen() -> None:
    before = {"a": Sighting(10.0), "b": Sighting(10.0, first_beat=12.0), "d": Sighting(10.0, launched_here=False)}
    after = {
        "a": Sighting(10.0, first_beat=15.0),
        "b": Sighting(10.0, first_beat=12.0),
        "c": Sighting(14.0, first_beat=14.0),
        "d": Sighting(10.0, launched_here=False, first_beat=15.0),
        "e": Sighting(14.0),
        "f": Sighting(10.0, first_beat=75.0, beat=Beat(1, restarted=True)),  # killed before its first beat
    }
    assert boots(before, after) == [5.0, 0.0]


def test_the_counts_are_corrected_by_what_workers_hold() -> None:
    seen = {
        "a": Sighting(0.0, beat=Beat(1, in_progress=5)),
        "b": Sighting(0.0, beat=Beat(1, in_progress=7), lost_since=1.0),
        "c": Sighting(0.0),
    }
    assert confirmed(Depth(3, 2, 1), seen) == Depth(3, 5, 1)
    assert confirmed(Depth(3, 9, 1), seen) == Depth(3, 9, 1)


def test_experience_grows_with_each_look() -> None:
    machine = one()
    known = Experience().look(NOW, Depth(9, 0, 0), (), {}, PATIENCE, 60.0)
    assert known.seen == {}
    known = known.look(NOW + 1, Depth(9, 0, 0), (machine,), {}, PATIENCE, 60.0)
    known = known.look(NOW + 4, Depth(6, 3, 0), (machine,), {"i-1": Beat(1, 0, 3)}, PATIENCE, 60.0)
    assert known.boot.quantile(0.9) == 3.0
    assert known.service == Measured().service
    known = known.look(NOW + 6, Depth(3, 2, 0), (machine,), {"i-1": Beat(2, 4, 2, 2.0)}, PATIENCE, 60.0)
    assert known.service.samples[-1] == (0.5, 4)
    seen = known.observation(NOW + 6, Depth(3, 1, 0), (machine,), ())
    assert seen.depth == Depth(3, 2, 0)
    assert (seen.measured.waiting[-1].count, seen.measured.waiting[0].age) == (5, 6.0)
    many = known.look(NOW + 7, Depth(0, 0, 0), (machine,), {"i-1": Beat(3, 9000, 0, 900.0)}, PATIENCE, 60.0)
    assert many.service.samples[-1][1] == 32  # a long life does not outweigh all that comes after
    assert [seconds for seconds, _ in many.boot.samples[1:]] == [3.0]  # once
    idle = many.look(NOW + 8, Depth(0, 0, 0), (machine,), {"i-1": Beat(4, 9001, 0, 900.0)}, PATIENCE, 60.0)
    assert idle.service == many.service  # nothing to divide
    fresh = Experience().observation(NOW, Depth(0, 0, 0), (), ())
    assert (fresh.sightings, fresh.measured) == ({}, Measured())


def test_machines_whose_workers_never_come_are_tried_one_at_a_time() -> None:
    """A broken image, role or network: before, the whole pool was replaced every boot time, for ever."""
    first, second = (tuple(one(name=f"i-{launch}-{number}") for number in range(5)) for launch in "ab")
    again = one(name="i-again")
    known, now = Experience(), NOW

    def look(*machines: Instance, after: float = 1, beats: Mapping[str, Beat] | None = None) -> tuple[int, str]:
        nonlocal known, now
        now += after
        known = known.look(now, EMPTY, machines, beats or {}, PATIENCE, 60.0)
        count, refused = gate(5, known.observation(now, EMPTY, machines, ()), LIMITS, None)
        return count, "".join(each.why for each in refused)

    look(*first)
    assert look(*first, after=PATIENCE.boot + 1) == (5, "")  # it may have been bad luck
    assert look(*first, *second) == (5, "")
    assert look(*second, after=PATIENCE.boot + 1) == (1, NEVER_CAME)
    assert look(*second, again) == (0, NEVER_CAME)  # it boots still
    assert look(*second, again, beats={"i-again": Beat(1)}) == (5, "")
    assert known.never_came == 0


def test_one_machine_without_a_worker_holds_nothing_up_beside_one_that_works() -> None:
    both = (one(name="i-dead"), one(name="i-works"))
    known = replace(Experience(), never_came=SEVERAL)
    for count, now in enumerate((NOW, NOW + PATIENCE.boot + 1), 1):
        known = known.look(now, EMPTY, both, {"i-works": Beat(count)}, PATIENCE, 60.0)
    assert gate(5, known.observation(now, EMPTY, both, ()), LIMITS, None) == (5, ())


def test_photos_are_counted_when_the_workers_can_be_heard() -> None:
    machine = one()
    tally = Tally(counted=40, backlog=9)  # of the controller before
    deaf = Experience(tally=tally).look(NOW, Depth(9, 0, 0), (machine,), None, PATIENCE, 60.0)
    assert (deaf.beats, deaf.tally.finished, deaf.tally.counted) == (None, 0, 40)
    heard = deaf.look(NOW + 1, Depth(7, 0, 0), (machine,), {"i-1": Beat(5, 45)}, PATIENCE, 60.0)
    assert (heard.tally.finished, heard.tally.arrived, heard.tally.counted) == (5, 3, 45)
    # It ended between two looks, and its last beat is still there.
    gone = heard.look(NOW + 2, Depth(4, 0, 0), (), {"i-1": Beat(6, 48)}, PATIENCE, 60.0)
    assert (gone.tally.finished, gone.tally.arrived, gone.tally.counted) == (8, 3, 0)


def test_what_workers_finished_after_the_controller_had_stopped_is_counted_when_it_starts() -> None:
    before = Tally(counted=40, backlog=9)
    last = {"i-1": Beat(9, 47), "i-2": Beat(3, 2)}  # i-1 has ended since, and told its last count before
    heard = Experience(tally=before).look(NOW, Depth(0, 0, 0), (one(name="i-2"),), last, PATIENCE, 60.0)
    assert (heard.tally.finished, heard.tally.arrived, heard.tally.counted) == (9, 0, 2)
    alone = Experience(tally=before).look(NOW, Depth(0, 0, 0), (), {"i-1": Beat(9, 47)}, PATIENCE, 60.0)
    assert (alone.tally.finished, alone.tally.counted) == (7, 0)


def test_beats_of_workers_that_are_gone_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.experience.KEPT_BEATS", 2)
    known = Experience()
    for number in range(4):
        known = known.look(NOW + number, Depth(0, 0, 0), (), {f"i-{number}": Beat(1)}, PATIENCE, 60.0)
    assert known.beats is not None
    assert list(known.beats) == ["i-2", "i-3"]


def test_a_beat_that_comes_late_does_not_make_the_photos_young() -> None:
    known, machine = Experience(), one()
    told = 0
    for after, backlog, more in ((0, 0, 0), (1, 200, 0), (20, 38, 162), (21, 32, 6), (22, 20, 0), (23, 11, 21)):
        told += more
        known = known.look(NOW + after, Depth(backlog, 0, 0), (machine,), {"i-1": Beat(after, told)}, PATIENCE, 60.0)
        waiting = known.observation(NOW + after, Depth(backlog, 0, 0), (machine,), ()).measured.waiting
        assert [part.age for part in waiting] == ([float(after)] if backlog else [])
