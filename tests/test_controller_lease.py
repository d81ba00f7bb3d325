"""Two controllers, one acts: the lease, the intents that survive a take-over, and a controller paused at any line."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.intents import Intents
from controller.lease import Hold, holder_id
from controller.policy import Intent
from controller.terminations import AskByQueue
from shoal.errors import LeaseLost, Retryable, SettingsError
from shoal.lease import LeaseRecord, RecordLease
from shoal.memory import ManualClock, MemoryLeaseRecord, MemoryPool, MemoryQueue, MemoryRegister
from shoal.ports import Beat, Grant, Instance
from shoal.settings import load

LEASE = 10.0
LAUNCH = 30.0


class Two:
    """Two controllers' holds on one lease. Each machine's clock is its own, and shows another time of day."""

    def __init__(self) -> None:
        self.place = MemoryLeaseRecord()
        self.ours, self.theirs = ManualClock(5_000.0), ManualClock(900_000.0)
        self.a = self.hold("a", self.ours)
        self.b = self.hold("b", self.theirs)

    def hold(self, name: str, clock: ManualClock, time_of_day: float = 1_700_000_000.0) -> Hold:
        return Hold(RecordLease(self.place, clock.now, lambda: time_of_day), name, LEASE, clock.now)

    def wait(self, seconds: float) -> None:
        self.ours.wait(seconds)
        self.theirs.wait(seconds)


@pytest.fixture
def two() -> Two:
    return Two()


# The hold


def test_one_acts_and_the_other_says_once_that_it_stands_by(two: Two, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(100):
            two.a.attend()
            two.b.attend()
            assert two.a.held()
            assert not two.b.held()
            two.wait(1)
    assert caplog.text.count("standing by") == 1
    assert caplog.text.count("acting with token") == 1


def test_the_lease_is_renewed_three_times_in_its_length(two: Two) -> None:
    two.a.attend()
    first = two.place.read()
    for _ in range(30):
        two.wait(1)
        two.a.attend()
    last = two.place.read()
    assert first is not None
    assert last is not None
    assert last.count - first.count == 30 // 4  # at the first tick after a third of ten seconds


def test_a_silent_holder_is_followed_and_stops_before_that(two: Two) -> None:
    """Pitfall: two controllers, cap breached. There is no moment at which both may act."""
    two.a.attend()
    two.b.attend()
    while not two.b.held():
        two.wait(0.1)
        two.b.attend()
        assert not (two.a.held() and two.b.held())
    assert two.b.token > two.a.token
    assert two.a.attend() is None
    assert not two.a.held()


@given(
    steps=st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 8)), min_size=5, max_size=60),
    skew=st.floats(-1e9, 1e9),
)
def test_never_two_hold_it_whatever_the_clocks_say(steps: list[tuple[str, float]], skew: float) -> None:
    """Pitfall: clock skew. Controllers wake up at odd times, are paused for any time, and disagree about the date."""
    two = Two()
    two.b = two.hold("b", two.theirs, time_of_day=1_700_000_000.0 + skew)
    tokens = []
    for who, pause in steps:
        one = two.a if who == "a" else two.b
        if grant := one.attend():
            tokens.append(grant.token)
        assert not (two.a.held() and two.b.held())
        two.wait(pause)
    assert tokens == sorted(tokens)


def test_a_restarted_controller_need_not_wait_for_itself(two: Two, tmp_path: Path) -> None:
    two.a.attend()
    two.a.note("launching")
    again = two.hold("a", two.ours)
    grant = again.attend()
    assert grant == Grant(two.a.token, "launching", seized=False)
    assert holder_id(tmp_path / "controller.id") == holder_id(tmp_path / "controller.id")
    assert holder_id(tmp_path / "other.id") != holder_id(tmp_path / "controller.id")


def test_controllers_that_start_at_the_same_moment_get_an_id(tmp_path: Path) -> None:
    for number in range(20):
        path, start = tmp_path / f"{number}.id", threading.Barrier(8)

        def ask(path: Path = path, start: threading.Barrier = start) -> str:
            start.wait()
            return holder_id(path)

        with ThreadPoolExecutor(8) as controllers:
            found = [one.result() for one in [controllers.submit(ask) for _ in range(8)]]
        assert path.read_text() in found
    assert len(list(tmp_path.iterdir())) == 20


def test_a_lease_is_longer_than_the_time_between_two_renewals() -> None:
    with pytest.raises(SettingsError, match="SHOAL_LEASE_SECONDS=5"):
        load({"SHOAL_LEASE_SECONDS": "5", "SHOAL_TICK_SECONDS": "3"})


def test_a_lease_given_back_is_taken_at_once(two: Two) -> None:
    two.a.attend()
    two.a.release()
    two.a.release()
    assert not two.a.held()
    grant = two.b.attend()
    assert grant is not None
    assert not grant.seized
    assert two.b.held()


def test_tokens_grow_on_when_the_record_was_lost(two: Two) -> None:
    """Whoever knows the last token counts on from it, even if the date was set back; who does not goes by the date."""
    two.a.attend()
    first = two.a.token
    two.b.attend()
    two.place._record = None
    assert two.b.attend() is None  # the holder may not know yet
    fresh = two.hold("c", two.theirs, time_of_day=1_700_000_000.5)
    fresh.attend()
    assert fresh.token > first
    fresh.release()
    two.place._record = None
    two.wait(LEASE / 2)
    two.a.attend()  # its date is earlier than that of the record which was lost; its own token was smaller still
    assert two.a.token > first
    two.place._record = None
    back = RecordLease(two.place, two.ours.now, lambda: 0.0)
    one = back.take("d", LEASE)
    two.place._record = None
    other = back.take("d", LEASE)
    assert one is not None
    assert other is not None
    assert other.token > one.token


class Flaky(MemoryLeaseRecord):
    down = False

    def swap(self, old: LeaseRecord | None, new: LeaseRecord) -> bool:
        if self.down:
            raise Retryable("no route")
        return super().swap(old, new)

    def read(self) -> LeaseRecord | None:
        if self.down:
            raise Retryable("no route")
        return super().read()


def test_a_holder_that_cannot_renew_acts_until_its_time_is_over(caplog: pytest.LogCaptureFixture) -> None:
    two = Two()
    two.place = place = Flaky()
    a = two.hold("a", two.ours)
    a.attend()
    place.down = True
    with caplog.at_level(logging.WARNING):
        for _ in range(9):
            two.wait(1)
            a.attend()
            assert a.held()
        two.wait(1)
        a.attend()
        assert not a.held()
        a.release()
    assert caplog.text.count("cannot renew the lease") == 1
    with pytest.raises(LeaseLost):
        a.note("too late")
    place.down = False
    token, grant = a.token, a.attend()
    assert grant is not None
    assert grant.token == token  # nobody took it meanwhile
    assert a.held()


# Intents


def intents(hold: Hold) -> Intents:
    return Intents(hold, LAUNCH)


def intent(token: str, at: float, names: str = "abc") -> Intent:
    return Intent(token, tuple(names), at)


def test_intents_outlive_their_controller(two: Two) -> None:
    """Pitfall: launching again while pending; two controllers."""
    two.a.attend()
    ours = intents(two.a)
    ours.add(intent("one", two.ours.now()))
    ours.add(intent("two", two.ours.now()))
    ours.forget("two")
    two.b.attend()
    two.wait(LEASE)
    grant = two.b.attend()
    assert grant is not None
    assert grant.seized
    theirs = intents(two.b)
    theirs.load(grant, two.theirs.now())
    # By their clock: the time of day on the other machine means nothing here.
    assert theirs.open((), two.theirs.now()) == (intent("one", two.theirs.now()),)
    shown = [Instance("i-1", "a", "running", 0.0, launch="one")]
    assert theirs.open(shown, two.theirs.now()) == (intent("one", two.theirs.now(), "bc"),)


def test_a_controller_that_lost_the_lease_writes_down_no_launch(two: Two) -> None:
    """Pitfall: two controllers. Without the condition on the token the paused one launches what nobody counts."""
    two.a.attend()
    ours = intents(two.a)
    two.b.attend()
    two.wait(LEASE)
    two.b.attend()
    assert two.b.held()
    two.a._renewed = two.ours.now()  # paused after it had looked at its hold, before it writes
    with pytest.raises(LeaseLost):
        ours.add(intent("late", two.ours.now()))
    assert ours.all() == ()
    record = two.place.read()
    assert record is not None
    assert "late" not in record.notes


def test_a_launch_of_long_ago_is_forgotten_by_the_same_controller_and_repeated_by_another(two: Two) -> None:
    """The same one is the only one of its state folder, so nobody is about to make that launch any more. Another may
    be paused right before it: only its token, used up, makes that harmless."""
    two.a.attend()
    intents(two.a).add(intent("old", two.ours.now()))
    two.b.attend()
    two.wait(LAUNCH + 1)
    again = two.hold("a", two.ours)
    fresh = intents(again)
    own_grant = again.attend()
    assert own_grant is not None
    fresh.load(own_grant, two.ours.now())
    assert fresh.open((), two.ours.now()) == ()

    two = Two()
    two.a.attend()
    intents(two.a).add(intent("old", two.ours.now()))
    two.b.attend()
    two.wait(LAUNCH + 1)
    grant = two.b.attend()
    assert grant is not None
    theirs = intents(two.b)
    theirs.load(grant, two.theirs.now())
    assert [one.token for one in theirs.open((), two.theirs.now())] == ["old"]


def test_notes_that_were_lost_are_written_anew(two: Two) -> None:
    two.a.attend()
    ours = intents(two.a)
    ours.add(intent("one", two.ours.now()))
    ours.load(Grant(two.a.token + 1), two.ours.now())  # the table was lost, and made again without notes
    two.place._record = LeaseRecord(two.a.token, "a", 99)
    assert [one.token for one in ours.open((), two.ours.now())] == ["one"]
    record = two.place.read()
    assert record is not None
    assert "one" in record.notes


def test_notes_that_could_not_be_brought_up_to_date_are_later() -> None:
    two = Two()
    two.place = place = Flaky()
    hold = two.hold("a", two.ours)
    hold.attend()
    some = intents(hold)
    some.add(intent("one", two.ours.now()))
    place.down = True
    some.granted("one", 2)
    assert some.all() == (intent("one", two.ours.now(), "ab"),)
    place.down = False
    some.open((), two.ours.now())
    record = place.read()
    assert record is not None
    assert '["a", "b"]' in record.notes


# A controller paused at any line of a launch


class Launching:
    """One launch, as the reconciler does it, in steps between which the process may be stopped."""

    def __init__(self, hold: Hold, pool: MemoryPool, token: str, clock: ManualClock) -> None:
        self._hold = hold
        self._pool = pool
        self._intents = intents(hold)
        self._token = token
        self._clock = clock

    def steps(self) -> list[Callable[[], object]]:
        names = tuple("abc")
        return [
            lambda: self._hold.attend(),
            lambda: self._intents.add(Intent(self._token, names, self._clock.now())),
            lambda: self._pool.launch(names, self._token),
            lambda: self._intents.granted(self._token, 3),
        ]


@pytest.mark.parametrize("paused_after", range(5))
def test_a_controller_paused_at_any_line_launches_nothing_more(paused_after: int) -> None:
    """Pitfall: two controllers, cap breached. SIGSTOP, a take-over, SIGCONT: three machines, whatever the line."""
    two = Two()
    pool = MemoryPool(two.ours)
    launching = Launching(two.a, pool, "token-of-a", two.ours)
    steps = launching.steps()
    for step in steps[:paused_after]:
        step()
    two.b.attend()
    two.wait(LEASE)
    grant = two.b.attend()

    theirs = intents(two.b)
    if grant is not None:
        theirs.load(grant, two.theirs.now())
    for one in theirs.open((), two.theirs.now()):
        pool.launch(one.names, one.token)  # what was written down is asked for again, by the same token
    if len(pool.describe()) < 3:
        pool.launch("abc", "token-of-b")  # the need is still there

    for step in steps[paused_after:]:  # SIGCONT
        try:
            step()
        except LeaseLost:
            break
    if paused_after == 0:  # it had done nothing yet, and learned at its first line that another acts
        assert not two.a.held()
    assert len(pool.describe()) == 3


# Asking by terminate messages


Asking = tuple[AskByQueue, MemoryPool, MemoryQueue, MemoryRegister, ManualClock]


@pytest.fixture
def asking() -> Asking:
    clock = ManualClock()
    pool, queue, register = MemoryPool(clock), MemoryQueue(clock), MemoryRegister()
    pool.launch([f"n{number}" for number in range(5)], "token")
    return AskByQueue(pool, queue, register, 5.0, clock.now, clock.now), pool, queue, register, clock


def ids(some: Sequence[Instance]) -> list[str]:
    return [one.id for one in some]


def test_no_more_messages_are_out_than_workers_shall_leave(asking: Asking) -> None:
    pool, _, queue, _, clock = asking
    pool.drain(ids(pool.describe()[:2]))
    pool.drain(ids(pool.describe()[:3]))  # one more than were asked
    for _ in range(4):  # ticks within the messages' life
        clock.wait(1)
        with pytest.raises(Retryable, match="out already"):
            pool.drain(ids(pool.describe()[:3]))
    assert queue.depth().total == 3
    pool.drain([])
    clock.wait(2)
    pool.drain(ids(pool.describe()[:3]))  # nobody took them: they have no effect any more
    assert queue.depth().total == 6


def test_a_worker_that_obeyed_counts_as_leaving(asking: Asking) -> None:
    pool, _, _, register, clock = asking
    first, second, *_ = ids(pool.describe())
    register.beat(first, Beat(1, leaving=True))
    register.beat(second, Beat(1))
    assert [one.id for one in pool.describe() if one.drain_since] == [first]
    since = pool.describe()[0].drain_since
    clock.wait(5)
    register.forget([first])  # its process has ended, its machine is about to
    assert pool.describe()[0].drain_since == since == clock.now() - 5
    pool.terminate([first])
    assert first not in ids(pool.describe())
    assert pool.launch(["more"], pool.token(1))
