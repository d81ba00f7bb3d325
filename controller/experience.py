"""What the controller remembers from one tick to the next, as a value. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controller.estimates import Flow, Spread
from controller.policy import Intent, Measured, Need, Observation
from controller.sightings import (
    Losses,
    Patience,
    Sightings,
    asked_to_leave,
    boots,
    bulk_since,
    dropped_since,
    finished_since,
    gave_up,
    look,
    losses,
    marked,
    registered,
    told,
)
from controller.standstill import judge, patience_for
from controller.tally import Tally
from controller.throughput import Throughput
from shoal.ports import Beat, Depth, Instance

HEAVIEST = 32.0  # the most weight of a look: after a restart the first look measures the whole lives of the workers
KEPT_BEATS = 5000  # workers, those that are gone included: a worker that was struck off by mistake beats again


@dataclass(frozen=True, slots=True)
class Experience:
    """What is known of the instances, the photos and the times.

    seen:  None until the first look.
    beats: of each worker the beat in which its count of finished photos last changed; None until the register could be
           read.
    needs: what the policy asked for, as far back as it matters.
    tried, standstill: see `standstill.Standstill`.
    never_came: launches in a row whose workers never registered.  gave_up_at: when the last of them was given up.
    lost:  what ended since the look before although nobody asked it to.
    """

    seen: Sightings | None = None
    beats: Mapping[str, Beat] | None = None
    tally: Tally = field(default_factory=Tally)
    service: Spread = field(default_factory=lambda: Measured().service)
    boot: Spread = field(default_factory=lambda: Measured().boot)
    flow: Flow = field(default_factory=Flow)
    throughput: Throughput = field(default_factory=Throughput)
    needs: tuple[Need, ...] = ()
    tried: bool = False
    standstill: str = ""
    never_came: int = 0
    gave_up_at: float = float("-inf")
    lost: Losses = field(default_factory=Losses)

    def look(
        self,
        now: float,
        depth: Depth,
        instances: tuple[Instance, ...],
        beats: Mapping[str, Beat] | None,
        patience: Patience,
        memory_seconds: float,
    ) -> Experience:
        """After one more look. beats: None when the register cannot be read. memory_seconds: see `Flow.seen`."""
        patience = patience_for(patience, self.service.quantile(0.75))
        stood = judge(look(self.seen, instances, beats, now, patience, depth.visible > 0), self.tried, now, patience)
        seen = marked(stood.seen, instances, beats is not None, now, patience)
        finished, busy = finished_since(self.beats or {}, beats or {})
        service = self.service.add(busy / finished, min(finished, HEAVIEST)) if finished and busy else self.service
        boot, came = self.boot, registered(self.seen or {}, seen)
        failed = not came and gave_up(self.seen or {}, seen, self.gave_up_at)
        for seconds in boots(self.seen or {}, seen):
            boot = boot.add(seconds)
        backlog = confirmed(depth, seen).total
        known = self.beats if beats is None else _kept(told(self.beats or {}, beats))
        tally = self._count(now, backlog, known, finished, (one.id for one in instances))
        # By what left the queue, for beats come later: a look between the two would hide that older photos wait.
        flow = self.flow.seen(now, backlog, tally.left - self.tally.left, memory_seconds)
        if self.beats is not None:
            tally = tally.with_dropped(dropped_since(self.beats, beats or {}))
            tally = tally.with_bulk(bulk_since(self.beats, beats or {}))
        throughput = self.throughput
        if beats is not None:
            steady = depth.visible > 0 and not leaving(seen)
            throughput = throughput.look(now, working(seen), steady, backlog, finished, busy)
        words = stood.words if backlog else ""
        # A controller that did not look for a while, as one that stood by, cannot know who asked for it.
        watched = bool(self.flow.points) and now - self.flow.points[-1].at <= patience.silent
        return replace(
            self, seen=seen, beats=known, tally=tally, service=service, boot=boot, flow=flow,
            throughput=throughput, tried=stood.tried, standstill=words,
            never_came=0 if came else self.never_came + failed, gave_up_at=now if failed else self.gave_up_at,
            lost=losses(self.seen or {}, seen, beats or {}) if watched else Losses(),
        )  # fmt: skip

    def asked_to_leave(self, ids: Iterable[str], now: float) -> Experience:
        """After these instances were asked to leave."""
        return self if self.seen is None else replace(self, seen=asked_to_leave(self.seen, ids, now))

    def _count(
        self, now: float, backlog: int, known: Mapping[str, Beat] | None, finished: int, instances: Iterable[str]
    ) -> Tally:
        if known is None:
            return self.tally.look(now, backlog, self.tally.counted, 0)
        counted = sum(known[one].finished for one in instances if one in known)
        if self.beats is None:
            finished = self.tally.grown_to(sum(beat.finished for beat in known.values()))
        return self.tally.look(now, backlog, counted, finished)

    def observation(
        self, now: float, depth: Depth, instances: tuple[Instance, ...], intents: tuple[Intent, ...]
    ) -> Observation:
        """The observation that a policy is given."""
        seen = self.seen or {}
        flow = self.flow
        measured = Measured(self.service, self.boot, flow.arrivals, flow.waiting(now), self.tally, self.throughput)
        return Observation(
            now, confirmed(depth, seen), instances, intents, seen, measured, self.standstill, self.never_came,
            lost=self.lost,
        )  # fmt: skip


def _kept(beats: dict[str, Beat]) -> dict[str, Beat]:
    for worker in list(beats)[:-KEPT_BEATS]:
        del beats[worker]
    return beats


def confirmed(depth: Depth, seen: Sightings) -> Depth:
    """The counts, corrected by the workers' messages in progress: the queue's own may lag by a minute."""
    in_progress = sum(one.beat.in_progress for one in seen.values() if one.beat is not None and one.lost_since is None)
    return replace(depth, in_flight=max(depth.in_flight, in_progress))


def working(seen: Sightings) -> int:
    """Workers that have photos in progress."""
    return sum(one.beat is not None and one.beat.in_progress > 0 and one.lost_since is None for one in seen.values())


def leaving(seen: Sightings) -> bool:
    """Whether a worker finishes its photos and takes no more."""
    return any(one.drain_seen is not None and one.beat is not None and one.beat.in_progress for one in seen.values())
