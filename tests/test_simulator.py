"""The simulator: its world, the scalers in it, and the oracles beside them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_tier import prefetch, worker
from controller.policy import Limits, Terms
from shoal.errors import CapacityUnavailable, Permanent, SettingsError
from shoal.ledger import Entry
from simulator import arrivals, world
from simulator.cloud_view import CountFaults
from simulator.durations import constant, parse
from simulator.figures import Prices, quantile
from simulator.oracles import best_schedules, lower_bound
from simulator.published import IN_TIME, LAST_LABEL, reproduce
from simulator.run import Ran, Scenario, Unfinished, maker, names, run
from simulator.scalers import Scaler
from simulator.world import Machines, World

HOUR = 3600.0


def scenario(
    times: Sequence[float], boot: float = 30.0, service: float = 0.5, most: int = 15, **more: object
) -> Scenario:
    machines = more.pop("machines", None) or Machines(constant(service), constant(boot))
    terms = Terms(Limits(0, most, 10.0, 10.0, 0.05), 60.0)
    seconds = more.pop("seconds", max(times[-1], 1.0))
    return Scenario(times, machines, terms, Prices(0.0416), seconds, **more)  # type: ignore[arg-type]


def made(generator: str, photos: int = 300, seconds: float = HOUR, seed: int = 1) -> list[float]:
    return list(arrivals.GENERATORS[generator](photos, seconds, Random(seed)))


# arrivals and durations


@given(st.sampled_from(sorted(arrivals.GENERATORS)), st.integers(1, 400), st.floats(60, 1e6), st.integers())
@settings(max_examples=60, deadline=None)
def test_a_generator_makes_all_photos_in_order_within_the_time(
    name: str, photos: int, seconds: float, seed: int
) -> None:
    times = made(name, photos, seconds, seed)
    assert len(times) == photos
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= seconds
    assert times == made(name, photos, seconds, seed)


def test_the_recorded_hour_comes_with_shoal() -> None:
    times = arrivals.read(arrivals.RECORDED["azure-code"])
    assert len(times) == 8819
    assert 3400 < times[-1] < 3600


def test_a_trace_has_times_or_times_and_counts(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("seconds,photos\n20,2\n10,1\n30.5,0\n")
    assert arrivals.read(file) == [0.0, 10.0, 10.0]
    for text, why in (("seconds\n1\nnoon\n", "line 3"), ("seconds\n", "no arrivals"), ("s,n\n1,-2\n", "line 2")):
        file.write_text(text)
        with pytest.raises(Permanent, match=why):
            arrivals.read(file)


def test_a_ledgers_arrivals_lie_between_its_entries() -> None:
    def entry(at: float, arrived: int, dry_run: bool = False) -> Entry:
        return Entry(at, "", 0, 0, 0, 0, 0, arrived=arrived, dry_run=dry_run)

    found = arrivals.of_ledger([entry(100.0, 1), entry(110.0, 0), entry(120.0, 5), entry(125.0, 9, dry_run=True)])
    assert found == [0.0, 12.0, 14.0, 16.0, 18.0, 20.0]
    with pytest.raises(Permanent, match="no arrivals"):
        arrivals.of_ledger([entry(100.0, 0)])


@pytest.mark.parametrize("text", ["0.57", "lognormal:0.57:0.3", "uniform:0.5:0.64", "exponential:0.57"])
def test_durations_have_their_mean_and_their_least(text: str) -> None:
    durations, dice = parse(text), Random(1)
    drawn = [durations.draw(dice) for _ in range(20_000)]
    assert math.fsum(drawn) / len(drawn) == pytest.approx(durations.mean, rel=0.03)
    assert durations.mean == pytest.approx(0.57)
    assert min(drawn) >= durations.least


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "soon", "uniform:2:1", "lognormal:1", "gamma:1:2", "1:"])
def test_durations_that_cannot_be_read_name_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="lognormal:MEAN:SHARE"):
        parse(text)


# the world


def test_a_worker_takes_photos_ahead_as_the_real_one_does() -> None:
    for name in ("LEAST_IN_PROGRESS", "FIRST_IN_PROGRESS", "PREFETCH_SECONDS", "RECEIVE_MESSAGES"):
        assert getattr(world, name) == getattr(worker, name)
    assert world.MORE_EACH == prefetch.MORE_EACH


def test_machines_that_share_cores_do_no_more_together() -> None:
    times = [0.0] * 100
    alone = World(times, Machines(constant(1.0), constant(10.0)))
    shared = World(times, Machines(constant(1.0), constant(10.0), cores=1))
    for one in (alone, shared):
        one.launch(["a", "b"])
        one.advance(40.0)
    assert alone.done == 60
    assert 28 <= shared.done <= 32


def test_photos_of_a_machine_that_is_killed_are_done_by_another() -> None:
    one = World([0.0] * 10, Machines(constant(1.0), constant(5.0), visibility_seconds=30.0))
    (first,) = one.launch(["a"])
    one.advance(7.5)
    one.terminate([first.id])
    assert one.totals.busy_killed == 1
    one.launch(["b"])
    one.advance(20.0)
    assert (one.done, one.visible, one.in_flight) == (6, 0, 4)
    one.advance(60.0)
    assert one.over


def test_a_machine_that_drains_finishes_what_it_has_and_a_booting_one_leaves_when_it_has_booted() -> None:
    one = World([0.0] * 20, Machines(constant(1.0), constant(5.0)))
    first, second = one.launch(["a", "b"])
    one.advance(6.5)
    one.launch(["late"])
    one.drain(list(one.machines))
    assert len(one.machines) == 3
    one.advance(30.0)
    assert not one.machines
    assert one.totals.busy_killed == 0
    assert one.done == first.finished + second.finished
    assert one.in_flight == 0
    assert one.visible == 20 - one.done


def test_the_cloud_takes_spot_machines_back_and_gives_no_more_than_it_has() -> None:
    one = World([0.0] * 4000, Machines(constant(1.0), constant(5.0), most=2, interruptions=6.0))
    assert len(one.launch(["a", "b", "c"])) == 2
    with pytest.raises(CapacityUnavailable):
        one.launch(["d"])
    one.advance(4 * HOUR)
    assert one.totals.interrupted == 2
    assert not one.machines
    assert one.totals.busy_killed == 0


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_work_is_conserved_whatever_is_done_to_the_machines(data: st.DataObject) -> None:
    times = sorted(data.draw(st.lists(st.floats(0, 300), min_size=1, max_size=120)))
    kind = Machines(
        parse("lognormal:1:0.5"), parse("uniform:2:20"), interruptions=data.draw(st.sampled_from([0.0, 40.0]))
    )
    one = World(times, kind, seed=data.draw(st.integers(0, 9)))
    at = 0.0
    for _ in range(data.draw(st.integers(1, 25))):
        at += data.draw(st.floats(0, 30))
        one.advance(at)
        ids = list(one.machines)
        match data.draw(st.sampled_from(["launch", "drain", "terminate", "nothing"])):
            case "launch":
                one.launch(["m"] * data.draw(st.integers(1, 4)))
            case "drain":
                one.drain(ids[:2])
            case "terminate":
                one.terminate(ids[:1])
        arrived = sum(time <= at for time in times)
        assert arrived == one.visible + one.in_flight + one.done
        assert one.in_flight >= sum(machine.in_progress for machine in one.machines.values())
    one.launch(["last"] * 3)
    for _ in range(200):
        at += 60
        one.advance(at)
        if not one.machines:
            one.launch(["again"])
    assert one.over
    assert all(end >= begin for begin, end in zip(times, one.finished_at, strict=True))


# scalers


class Watched:
    """A scaler, and the sizes of the pool over time."""

    def __init__(self, name: str, simulated: Scenario) -> None:
        self.sizes: list[tuple[float, int]] = []
        self.world = simulated.world()
        self._scaler: Scaler = maker(name)(self.world, simulated.conditions())

    def tick(self) -> None:
        self._scaler.tick()
        self.sizes.append((self.world.now, len(self.world.machines)))

    def until(self, seconds: float) -> list[int]:
        """The sizes of the pool, each change one number."""
        at = self.sizes[-1][0] + 1 if self.sizes else 0.0
        while at <= seconds:
            self.world.advance(at)
            self.tick()
            at += 1
        counts = [size for _, size in self.sizes]
        return counts[:1] + [after for before, after in pairwise(counts) if before != after]


def test_target_tracking_acts_after_three_minutes_and_kills_the_busy() -> None:
    times = [0.0] * 1000
    watched = Watched("target_tracking", scenario(times))
    watched.until(170)
    assert watched.sizes[-1][1] == 1
    watched.until(300)
    assert watched.sizes[-1][1] > 3
    steady = Watched("target_tracking", scenario([number * 0.3 for number in range(8000)]))
    steady.until(2300)
    assert min(size for _, size in steady.sizes) == 1  # never 0: it has no metric there


def test_keda_comes_from_zero_at_a_poll_and_goes_back_after_its_cooldown() -> None:
    watched = Watched("keda", scenario([31.0] * 300))
    assert watched.until(59) == [0]
    assert watched.until(61) == [0, 3]
    watched.until(250)
    assert watched.sizes[-1][1] == 3
    assert watched.world.over
    assert watched.until(1000)[-1] == 0
    assert next(at for at, size in watched.sizes if at > 250 and size == 0) > 400


def test_buildkites_machines_leave_when_they_were_idle_for_ten_minutes() -> None:
    watched = Watched("buildkite", scenario([5.0] * 400))
    watched.until(100)
    assert watched.sizes[-1][1] == 4
    watched.until(600)
    assert watched.sizes[-1][1] == 4
    assert watched.until(900)[-1] == 0
    assert watched.world.totals.busy_killed == 0


def test_one_at_a_time_changes_by_one_each_five_minutes() -> None:
    watched = Watched("one_at_a_time", scenario([0.0] * 2000))
    assert watched.until(650) == [1, 2, 3]
    assert watched.until(3000)[-1] == 0


def test_predictive_is_ready_before_its_hour_and_fixed_never_changes() -> None:
    busy = [HOUR + number for number in range(3600) for _ in range(8)]
    watched = Watched("predictive", scenario([0.0, *busy], boot=60.0))
    watched.until(HOUR - 1)
    assert watched.sizes[-1][1] == 5
    assert watched.world.backlog == 0
    fixed = Watched("fixed", scenario([0.0, *busy]))
    assert fixed.until(2 * HOUR) == [3]


@pytest.mark.parametrize("name", names())
def test_each_scaler_labels_everything_within_the_cap_and_never_below_the_bound(name: str) -> None:
    simulated = scenario(made("batches", 400), most=6)
    ran = run(name, simulated)
    assert ran.figures.photos == 400
    assert ran.figures.most_machines <= 6
    assert ran.figures.machine_hours * 3600 >= lower_bound(simulated).machine_seconds
    assert ran.figures.cost >= lower_bound(simulated).cost
    assert run(name, simulated) == ran
    if name in {"deadline", "per_message", "qos", "step", "backlog_per_instance", "schedule"}:
        assert ran.figures.busy_killed == 0


@given(
    st.sampled_from(names()),
    st.sampled_from(sorted(arrivals.GENERATORS)),
    st.integers(1, 150),
    st.sampled_from(["0.4", "lognormal:1:0.5"]),
    st.sampled_from(["5", "uniform:20:90"]),
    st.sampled_from([None, 2]),
    st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_nothing_beats_the_bound(
    name: str, generator: str, photos: int, service: str, boot: str, cores: int | None, seed: int
) -> None:
    kind = Machines(parse(service), parse(boot), cores=cores)
    simulated = scenario(made(generator, photos, 900.0, seed), machines=kind, seed=seed, tick=5.0)
    found = run(name, simulated).figures
    assert found.most_machines <= 15
    assert found.machine_hours * 3600 >= lower_bound(simulated).machine_seconds - 1e-6


def test_the_default_policy_meets_its_target_on_the_recorded_hour_near_the_oracle() -> None:
    simulated = scenario(arrivals.read(arrivals.RECORDED["azure-code"]))
    ran, (_, late) = run("deadline", simulated), best_schedules(simulated)
    assert late is not None
    assert ran.figures.within >= 0.99
    assert ran.figures.cost <= 1.15 * late.figures.cost
    assert ran.figures.busy_killed == 0


def test_an_oracle_waits_for_the_first_photo_only_if_it_may_not_anticipate() -> None:
    simulated = scenario([100.0] * 20 + [2000.0] * 20, seconds=2100.0)
    early, late = best_schedules(simulated)
    assert early is not None
    assert late is not None
    assert late.figures.wait_p50 > 30
    assert early.figures.within == late.figures.within == 1.0
    assert early.figures.cost >= lower_bound(simulated).cost


@pytest.mark.parametrize("times", [made("burst", 200, 360.0), made("batches", 300)], ids=["burst", "batches"])
def test_a_schedule_is_found_where_a_policy_is_in_time(times: list[float]) -> None:
    simulated = scenario(times)
    ran, (early, late) = run("deadline", simulated), best_schedules(simulated)
    assert ran.figures.within >= 0.99
    assert early is not None
    assert late is not None
    assert early.figures.cost <= late.figures.cost <= 1.05 * ran.figures.cost


def test_no_schedule_labels_in_time_what_cannot_be() -> None:
    assert best_schedules(scenario([0.0] * 10, boot=90.0)) == (None, None)


def test_wrong_counts_cost_something_and_lose_nothing() -> None:
    times = made("poisson", 600, 1200.0)
    exact, wrong = (
        run("deadline", scenario(times, counts=counts)) for counts in (CountFaults(), CountFaults(lag=20.0, zeros=0.2))
    )
    assert exact.figures != wrong.figures
    assert wrong.figures.busy_killed == 0


@pytest.mark.parametrize("seed", [2, 4])
def test_a_crowd_that_needs_the_whole_cap_is_in_time(seed: int) -> None:
    """The crowd of `flash`: without a second sight of the cap 70 % and less were in time."""
    times = [at - 13_800 for at in made("flash", 20_000, 8 * HOUR, seed) if 13_800 <= at < 15_600]
    assert run("deadline", scenario(times, seconds=1800.0)).figures.within >= 0.99


def test_where_a_boot_is_longer_than_the_target_recurring_bursts_find_a_pool() -> None:
    times = arrivals.read(arrivals.RECORDED["azure-code"])
    ran, foreseen = (run(name, scenario(times, 71.53, 0.57, tick=2.0)).figures for name in ("deadline", "predictive"))
    assert ran.within > 0.8
    assert ran.wait_p95 < foreseen.wait_p95  # which knows the hour's mean


class NobodyIsEnded(World):
    """A world in which the controller may only ask workers to leave."""

    def terminate(self, ids: Iterable[str]) -> None:
        raise AssertionError(f"{', '.join(ids)} ended at {self.now:.0f} s")


class WatchedScenario(Scenario):
    def world(self) -> World:
        return NobodyIsEnded(self.arrivals, self.machines, self.seed)


LATE = {
    "one each 25 s": [25.0 * number for number in range(40)],
    "bursts": [180.0 * burst + 0.02 * number for burst in range(4) for number in range(300)],
    "steady": [float(number) for number in range(400)],
}


@pytest.mark.parametrize("boot", [20.0, 72.0])
@pytest.mark.parametrize("pattern", LATE)
def test_counts_a_minute_late_retire_no_worker_against_its_will(pattern: str, boot: float) -> None:
    """A worker that has emptied the queue looks idle beside photos that the counts still tell of: it is not stuck."""
    times = LATE[pattern]
    for lag in (60.0, 75.0, 100.0):
        late = scenario(times, boot, counts=CountFaults(lag=lag), seconds=times[-1] + 300)
        fields = {one.name: getattr(late, one.name) for one in dataclasses.fields(late)}
        ran = run("deadline", WatchedScenario(**fields))
        assert ran.figures.photos == len(times)


def test_photos_that_are_never_labelled_are_said() -> None:
    class Nothing:
        def tick(self) -> None:
            """Launch nothing."""

    with pytest.raises(Unfinished, match="10 photos"):
        run("nothing", scenario([0.0] * 10), lambda _, __: Nothing())


def test_an_unknown_scaler_is_refused_with_the_names() -> None:
    with pytest.raises(SettingsError, match=r"deadline, .*target_tracking"):
        maker("best")
    assert run("controller.policies.deadline:policy", scenario([0.0])).figures.photos == 1


def test_published_figures_lie_where_assumptions_put_them() -> None:
    times, shares = reproduce()
    found = {one.assumption.words: one.found for one in times.reproduced}
    assert found["one worker does all"] == pytest.approx((71.53 + 20 * 0.57, 71.53 + 30 * 0.57), abs=1.0)
    late, later = found["one worker, asked for 120 s late"], found["one worker, asked for 180 s late"]
    for published, least, most in zip(LAST_LABEL.values(), late, later, strict=True):
        assert least < published < most
    answered = {one.assumption.words: one.found for one in shares.reproduced}
    assert answered["19 workers, one request at a time, boot 15 s"] == (IN_TIME,)
    assert answered["20 such workers"] == (40,)
    assert answered["19 of Shoal's workers"] == (IN_TIME,)
    assert answered["19 such workers, boot 71.53 s"] == (0,)


def test_machines_are_billed_by_the_second_or_by_the_hour() -> None:
    assert Prices(3.6).of([10.0, 100.0]) == pytest.approx(0.16)
    assert Prices(3.6, "hour").of([10.0, 3601.0]) == pytest.approx(10.8)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_quantile_has_its_share_at_or_below_it(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, share)
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-6


def test_a_course_shows_every_stage_of_the_pool() -> None:
    ran: Ran = run("deadline", scenario([10.0] * 100, seconds=300.0))
    assert [one.at for one in ran.course] == sorted(one.at for one in ran.course)
    assert max(one.backlog for one in ran.course) == 100
    assert max(one.machines for one in ran.course) >= max(one.ready for one in ran.course) >= 1
