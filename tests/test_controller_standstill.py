"""Workers that beat and do nothing while photos wait: who is replaced, and who never is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.experience import Experience
from controller.ledger import Tick
from controller.plan import Drain, Launch, Terminate, plan
from controller.policy import Decision, Limits, Observation
from controller.sightings import LOOK_AGAIN_SECONDS, Patience
from controller.standstill import NO_BETTER, SERVICES, patience_for
from shoal.ledger import Entry
from shoal.ports import Beat, Depth, Instance

PATIENCE = Patience(boot=300.0, silent=90.0, drain=30.0, stuck=60.0, stalled=300.0)
STEP = 5.0
WAITING, NOTHING = Depth(20, 0, 0), Depth(0, 0, 0)


@dataclass(frozen=True)
class Worker:
    """What a worker does at one step."""

    moves: bool = False
    beats: bool = True
    in_progress: int = 0
    waits_for_store: bool = False


class Story:
    """Looks at a pool, a step at a time."""

    def __init__(self, names: str) -> None:
        self.now = 1000.0
        self.experience = Experience()
        self.instances = tuple(Instance(f"i-{name}", f"app-tier-instance-{name}", "running", 0.0) for name in names)
        self.beats = {one.id: Beat(1) for one in self.instances}
        self.depth = WAITING
        self.step()

    def step(self, **doing: Worker) -> Observation:
        """One step, in which workers not named stand still and beat."""
        self.now += STEP
        for one in self.instances:
            self._beat(one.id, doing.get(one.id.removeprefix("i-"), Worker()))
        self.experience = self.experience.look(self.now, self.depth, self.instances, self.beats, PATIENCE, 60.0)
        return self.experience.observation(self.now, self.depth, self.instances, ())

    def _beat(self, name: str, worker: Worker) -> None:
        old = self.beats[name]
        if worker.beats:
            self.beats[name] = replace(
                old,
                count=old.count + 1,
                received=old.received + worker.moves,
                finished=old.finished + worker.moves,
                in_progress=worker.in_progress,
                waits_for_store=worker.waits_for_store,
            )

    def for_seconds(self, seconds: float, **doing: Worker) -> Observation:
        for _ in range(int(seconds / STEP)):
            seen = self.step(**doing)
        return seen

    def replaced_by(self, name: str) -> None:
        """All instances end, and a new one is there."""
        self.instances = (Instance(f"i-{name}", f"app-tier-instance-{name}", "running", self.now),)
        self.beats = {f"i-{name}": Beat(1)}


def stuck(seen: Observation) -> set[str]:
    return {name.removeprefix("i-") for name, one in seen.sightings.items() if one.stuck}


def acts(seen: Observation) -> list[object]:
    return list(plan(Decision(len(seen.instances), ""), seen, Limits(0, 9, 10.0), PATIENCE).acts)


def test_a_lone_worker_that_takes_nothing_is_replaced() -> None:
    story = Story("a")
    assert stuck(story.for_seconds(60)) == set()
    seen = story.for_seconds(10)
    assert stuck(seen) == {"a"}
    assert seen.capacity == 0
    assert acts(seen) == [Launch(("app-tier-instance-1",))]
    seen = story.for_seconds(LOOK_AGAIN_SECONDS)
    [ended, _] = acts(seen)
    assert ended == Terminate(("i-a",), "beats and took no photo although some wait for more than 60 s")


def test_no_photo_waits_no_worker_is_stuck() -> None:
    story = Story("a")
    story.depth = NOTHING
    seen = story.for_seconds(600)
    assert (stuck(seen), seen.standstill) == (set(), "")


def test_one_that_gets_on_shows_that_the_others_are_to_blame() -> None:
    seen = Story("abc").for_seconds(80, a=Worker(moves=True))
    assert stuck(seen) == {"b", "c"}


def test_none_gets_on_one_is_replaced_and_the_new_one_fares_no_better() -> None:
    story = Story("abc")
    seen = story.for_seconds(300)
    assert len(stuck(seen)) == 1
    assert seen.standstill == NO_BETTER
    story.replaced_by("d")
    seen = story.for_seconds(600)
    assert (stuck(seen), seen.standstill, acts(seen)) == (set(), NO_BETTER, [])
    seen = story.step(d=Worker(moves=True))
    assert seen.standstill == ""
    assert stuck(story.for_seconds(80)) == {"d"}  # it got on for a while, so this is another case


def test_a_store_that_is_away_is_nobodys_fault_and_is_said() -> None:
    story = Story("ab")
    waits = Worker(in_progress=8, waits_for_store=True)
    seen = story.for_seconds(3600, a=waits, b=waits)
    assert (stuck(seen), acts(seen)) == (set(), [])
    assert seen.standstill == (
        "2 workers wait for the store, which does not answer or is full; none is replaced for that"
    )
    seen = story.step(a=Worker(moves=True), b=Worker(moves=True))
    assert seen.standstill == ""


def test_a_busy_one_gets_the_time_in_which_it_ends_by_itself_and_is_asked_first() -> None:
    story = Story("ab")
    assert stuck(story.for_seconds(350, a=Worker(in_progress=3), b=Worker(moves=True))) == set()
    seen = story.for_seconds(30, a=Worker(in_progress=3), b=Worker(moves=True))
    [ask, _] = acts(seen)
    assert ask == Drain(("i-a",), "beats and finished no photo for more than 360 s")


def test_one_that_was_stopped_and_goes_on_is_not_stuck() -> None:
    story = Story("ab")
    story.for_seconds(80, a=Worker(beats=False), b=Worker(moves=True))
    assert stuck(story.for_seconds(30, b=Worker(moves=True))) == set()


def test_messages_that_nobody_can_read_are_taken_all_the_same() -> None:
    """They are received, left for the dead-letter queue, and never finished."""
    story = Story("a")
    for _ in range(60):
        story.beats["i-a"] = replace(story.beats["i-a"], received=story.beats["i-a"].received + 1)
        assert stuck(story.step()) == set()


def test_slow_photos_give_more_time() -> None:
    assert patience_for(PATIENCE, 0.5).stuck == 60.0
    assert patience_for(PATIENCE, 9.0).stuck == 9.0 * SERVICES


def test_the_ledger_says_it_and_an_entry_keeps_it() -> None:
    story = Story("ab")
    story.for_seconds(300)
    seen = story.step()
    tick = Tick(seen, Decision(2, "two"))
    assert NO_BETTER in tick.sentence()
    entry = Entry.from_json(tick.entry(seen.measured.tally).to_json())
    assert entry.standstill == NO_BETTER


workers = st.builds(Worker, st.booleans(), st.booleans(), st.integers(0, 2), st.booleans())
stories = st.lists(
    st.tuples(st.fixed_dictionaries({name: workers for name in "abc"}), st.integers(1, 30), st.booleans()), max_size=12
)


@given(stories)
def test_who_gets_on_and_who_waits_for_the_store_is_never_stuck(
    steps: list[tuple[dict[str, Worker], int, bool]],
) -> None:
    story = Story("abc")
    got_on = dict.fromkeys("abc", story.now)
    trials = 0
    for doing, count, waiting in steps:
        story.depth = WAITING if waiting else NOTHING
        for _ in range(count):
            before = stuck(story.experience.observation(story.now, story.depth, story.instances, ()))
            seen = story.step(**doing)
            moved = [name for name, one in doing.items() if one.moves and one.beats]
            got_on |= dict.fromkeys(moved, story.now)
            new = stuck(seen) - before
            assert all(story.now - got_on[name] > PATIENCE.stuck for name in new)
            assert not any(doing[name].waits_for_store for name in new)
            assert waiting or not any(doing[name].in_progress == 0 for name in new)
            assert not any(doing[name].in_progress and story.now - got_on[name] <= 360 for name in new)
            # Without a worker that gets on there is one trial, whatever happens.
            lately = any(story.now - at <= PATIENCE.stuck + STEP for at in got_on.values())
            trials = 0 if moved else trials + len(new) * (not lately)
            assert trials <= 1


@pytest.mark.parametrize("beats", [None, {}])
def test_what_is_not_heard_is_not_stuck(beats: dict[str, Beat] | None) -> None:
    story = Story("a")
    story.for_seconds(55)
    for _ in range(60):
        story.now += STEP
        story.experience = story.experience.look(story.now, WAITING, story.instances, beats, PATIENCE, 60.0)
        assert stuck(story.experience.observation(story.now, WAITING, story.instances, ())) == set()
