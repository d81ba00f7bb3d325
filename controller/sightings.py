"""What the controller has seen of each instance, by its own clock: it never compares the clocks of two machines.

Pure: a look takes what was known before and returns what is known now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from shoal.ports import Beat, Instance

BEAT_GAPS = 3  # parts of the longest silence: a longer time between two beats tells nothing of what the worker did
LOOK_AGAIN_SECONDS = 10.0  # between marking a lost instance and ending it
CAPACITY_STATES = ("pending", "running")
# SQS' counts are that late, or a little more: they tell of photos although a worker finds nothing to take.
COUNTS_LAG_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds.

    boot:   from a launch to the worker's first beat.
    silent: from one beat to the next.
    drain:  from the drain mark, or from the last message finished after it, to the instance's end.
    stuck:  from one message received or finished to the next, of a worker that beats while messages wait.
    stalled: what a busy worker gets besides, in which it ends by itself when it hangs.
    """

    boot: float
    silent: float
    drain: float
    stuck: float = 60.0
    stalled: float = 300.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """One instance. Times are the controller's.

    first_seen:    when a listing first showed it.
    launched_here: whether it was launched while this controller ran, so that first_seen is near its launch.
    beat:          its worker's last beat; None when it never registered.
    first_beat:    when a beat was first seen.
    beat_changed:  when a new beat was last seen.
    progressed:    when its count of finished messages last changed.
    drain_seen:    when it was first known to drain.
    lost_since:    when it was marked as lost.
    got_on:        when it last received or finished a message.
    stood_since:   since when it beats and does neither, although it could; None when it gets on.
    stuck:         why it counts as stuck (`standstill.judge`); "" when it does not.
    up:            whether it was pending or running at the last look.
    """

    first_seen: float
    launched_here: bool = True
    beat: Beat | None = None
    first_beat: float | None = None
    beat_changed: float = 0.0
    progressed: float = 0.0
    drain_seen: float | None = None
    lost_since: float | None = None
    got_on: float | None = None
    stood_since: float | None = None
    stuck: str = ""
    up: bool = True


Sightings = Mapping[str, Sighting]


def look(
    before: Sightings | None,
    instances: Sequence[Instance],
    beats: Mapping[str, Beat] | None,
    now: float,
    patience: Patience,
    waiting: bool = False,
) -> dict[str, Sighting]:
    """What is known after one more look.

    before: None at the first look of a controller's life. beats: None when the register cannot be read: that time does
            not count as a worker's silence.
    waiting: whether messages can be received.
    """
    known = before or {}
    after = {}
    for one in instances:
        sighting = known.get(one.id) or Sighting(now, launched_here=before is not None)
        sighting = replace(sighting, up=one.state in CAPACITY_STATES)
        heard = _heard(sighting, one, beats, now)
        unheard = beats is None
        after[one.id] = replace(heard, stood_since=None) if unheard else _stood(sighting, heard, waiting, now, patience)
    return marked(after, instances, beats is not None, now, patience)


def marked(
    seen: Sightings, instances: Iterable[Instance], heard: bool, now: float, patience: Patience
) -> dict[str, Sighting]:
    """Note since when which are lost. heard: whether the register could be read."""
    return {one.id: _marked(seen[one.id], one, heard, now, patience) for one in instances}


def _stood(before: Sighting, after: Sighting, waiting: bool, now: float, patience: Patience) -> Sighting:
    """Note whether it stands. A worker that fell silent, or that was stopped for a while, shows nothing meanwhile."""
    beat, old = after.beat, before.beat
    if beat is None or old is None or after.beat_changed != now:
        return after
    moved = (beat.received, beat.finished) != (old.received, old.finished)
    if moved:
        after = replace(after, got_on=now)
    could = (waiting or beat.in_progress > 0) and not beat.leaving and not beat.waits_for_store
    same = not moved and (beat.in_progress > 0) == (old.in_progress > 0)
    if not could or not same or now - before.beat_changed > patience.silent / BEAT_GAPS:
        return replace(after, stood_since=None, stuck="")
    return after if after.stood_since is not None else replace(after, stood_since=before.beat_changed)


def _heard(sighting: Sighting, one: Instance, beats: Mapping[str, Beat] | None, now: float) -> Sighting:
    if beats is None:
        return replace(_asked(sighting, one, now), beat_changed=now)
    beat, old = beats.get(one.id), sighting.beat
    # Compare for a difference, not for growth: a worker that was started again counts from 1.
    if beat is None or (old is not None and beat.count == old.count and beat.finished == old.finished):
        return _asked(sighting, one, now)
    progressed = now if old is None or beat.finished != old.finished else sighting.progressed
    first_beat = now if sighting.first_beat is None else sighting.first_beat
    heard = replace(sighting, beat=beat, first_beat=first_beat, beat_changed=now, progressed=progressed)
    return _asked(heard, one, now)


def _asked(sighting: Sighting, one: Instance, now: float) -> Sighting:
    """Note when it was first known to drain, by its mark or by its own beat."""
    leaves = one.drain_since is not None or (sighting.beat is not None and sighting.beat.leaving)
    if leaves == (sighting.drain_seen is not None):
        return sighting
    return replace(sighting, drain_seen=now if leaves else None)


def _marked(sighting: Sighting, one: Instance, heard: bool, now: float, patience: Patience) -> Sighting:
    lost = heard and bool(why_lost(sighting, one, now, patience))
    if lost == (sighting.lost_since is not None):
        return sighting
    return replace(sighting, lost_since=now if lost else None)


def why_lost(sighting: Sighting, one: Instance, now: float, patience: Patience) -> str:
    """Why an instance that exists is no capacity, in words; "" when it works, boots or shuts down."""
    if one.state == "stopped":
        return "stopped"
    if one.state not in CAPACITY_STATES:
        return ""
    if sighting.beat is None:
        if now - sighting.first_seen > patience.boot:
            return f"never registered within {patience.boot:g} s"
    elif now - sighting.beat_changed > patience.silent:
        return f"silent for more than {patience.silent:g} s"
    return sighting.stuck


def overdue(sighting: Sighting, now: float, patience: Patience) -> bool:
    """Whether a draining instance has had its time: it neither left nor finished a message in it."""
    return sighting.drain_seen is not None and now - max(sighting.drain_seen, sighting.progressed) > patience.drain


def finished_since(before: Mapping[str, Beat], after: Mapping[str, Beat]) -> tuple[int, float]:
    """Messages finished between two looks, and the seconds of work that they took, both summed over all workers.

    before: of each worker the beat of its last change of `finished`, see `told`. A message may take many beats.
    """
    messages, seconds = 0, 0.0
    for name, beat in after.items():
        old = before.get(name)
        if old is None or beat.finished < old.finished:
            old = Beat(0)  # a worker that was started again counts from 0
        if beat.finished > old.finished:
            messages += beat.finished - old.finished
            seconds += max(0.0, beat.busy_seconds - old.busy_seconds)
    return messages, seconds


def dropped_since(before: Mapping[str, Beat], after: Mapping[str, Beat]) -> int:
    """Of the messages finished between two looks, those for whose photo nobody waited. before: as above."""
    messages = 0
    for name, beat in after.items():
        old = before.get(name)
        if old is None or beat.finished < old.finished:
            old = Beat(0)
        if beat.finished > old.finished:  # else the worker has not counted them as finished yet
            messages += max(0, beat.dropped - old.dropped)
    return messages


def bulk_since(before: Mapping[str, Beat], after: Mapping[str, Beat]) -> int:
    """Photos of bulk runs finished between two looks, of all workers. before: as above."""
    photos = 0
    for name, beat in after.items():
        old = before[name].bulk_finished if name in before else 0
        photos += beat.bulk_finished - (old if old <= beat.bulk_finished else 0)  # else it was started again
    return photos


def told(before: Mapping[str, Beat], after: Mapping[str, Beat]) -> dict[str, Beat]:
    """Of each worker the first beat with its newest `finished`, and its newest `bulk_finished`.

    Workers that are gone are kept, the oldest first.
    """
    news = {}
    for name, beat in after.items():
        old = before.get(name)
        if old is None or beat.finished != old.finished:
            news[name] = beat
        elif beat.bulk_finished != old.bulk_finished:
            news[name] = replace(old, bulk_finished=beat.bulk_finished)
    return {**before, **news}


def boots(before: Sightings, after: Sightings) -> list[float]:
    """Seconds from launch to first beat, of each instance that registered between two looks.

    A worker that was started again before it could register tells nothing: cron may have taken a minute to start it.
    """
    return [
        one.first_beat - one.first_seen
        for name, one in after.items()
        if one.launched_here
        and one.first_beat is not None
        and _first_beat(before, name) is None
        and not (one.beat is not None and one.beat.restarted)
    ]


@dataclass(frozen=True, slots=True)
class Losses:
    """What ended between two looks although nobody asked it to.

    workers:   workers that ended with their machines.
    machines:  machines that ended before a worker of theirs had registered.
    restarted: workers whose process ended and was started again on the same machine.
    """

    workers: int = 0
    machines: int = 0
    restarted: int = 0

    def __bool__(self) -> bool:
        return bool(self.workers or self.machines or self.restarted)

    def words(self) -> str:
        """1 worker was lost, 2 workers died and were started again; "" without any."""
        parts = [
            (self.workers, "1 worker was lost", "workers were lost"),
            (self.machines, "1 machine ended before its worker came", "machines ended before their workers came"),
            (self.restarted, "1 worker died and was started again", "workers died and were started again"),
        ]
        return ", ".join(one if count == 1 else f"{count} {more}" for count, one, more in parts if count)


def losses(before: Sightings, after: Sightings, beats: Mapping[str, Beat]) -> Losses:
    """What ended between two looks. A machine that was known to leave, or that counted as lost before, is none of them.

    beats: those of the later look, machines that are gone included.
    """
    kept = {name: one for name, one in before.items() if one.up and one.drain_seen is None and one.lost_since is None}
    ended = [
        one
        for name, one in kept.items()
        if not (name in after and after[name].up) and not (name in beats and beats[name].leaving)
    ]
    workers = sum(one.beat is not None for one in ended)
    restarted = sum(name in after and _started_again(one.beat, after[name].beat) for name, one in kept.items())
    return Losses(workers, len(ended) - workers, restarted)


def _started_again(before: Beat | None, after: Beat | None) -> bool:
    if after is None:
        return False
    return after.restarted if before is None else after.count < before.count and not before.leaving


def asked_to_leave(seen: Sightings, ids: Iterable[str], now: float) -> dict[str, Sighting]:
    """The same, after these instances were asked to leave: some are gone before a listing shows the mark."""
    return {**seen, **{one: replace(seen[one], drain_seen=now) for one in ids if one in seen}}


def registered(before: Sightings, after: Sightings) -> bool:
    """Whether a worker registered between two looks."""
    return any(one.first_beat is not None and _first_beat(before, name) is None for name, one in after.items())


def gave_up(before: Sightings, after: Sightings, last: float) -> bool:
    """Whether instances were marked as lost between two looks that never had a worker and were first seen after `last`.

    So of machines that were launched together the first counts alone.
    """
    return any(
        one.lost_since is not None
        and one.beat is None
        and one.first_seen >= last
        and (name not in before or before[name].lost_since is None)
        for name, one in after.items()
    )


def _first_beat(seen: Sightings, name: str) -> float | None:
    return seen[name].first_beat if name in seen else None
