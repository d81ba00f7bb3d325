"""What the controller knows from one tick to the next: a value that is handed in and out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from controller.estimates import Flow, Spread
from controller.policy import Intent, Measured, Need, Observation
from controller.sightings import Patience, Sightings, boots, finished_since, look
from shoal.ports import Beat, Depth, Instance

HEAVIEST = 32.0  # no single look may outweigh all that come after it, as a worker's whole life at a restart would


@dataclass(frozen=True, slots=True)
class Experience:
    """seen: None until the first look. needs: what the policy asked for, as far back as it matters."""

    seen: Sightings | None = None
    service: Spread = field(default_factory=lambda: Measured().service)
    boot: Spread = field(default_factory=lambda: Measured().boot)
    flow: Flow = field(default_factory=Flow)
    needs: tuple[Need, ...] = ()

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
        seen = look(self.seen, instances, beats, now, patience)
        finished, busy = finished_since(self.seen or {}, seen)
        service = self.service.add(busy / finished, min(finished, HEAVIEST)) if finished and busy else self.service
        boot = self.boot
        for seconds in boots(self.seen or {}, seen):
            boot = boot.add(seconds)
        flow = self.flow.seen(now, confirmed(depth, seen).total, finished, memory_seconds)
        return replace(self, seen=seen, service=service, boot=boot, flow=flow)

    def observation(
        self, now: float, depth: Depth, instances: tuple[Instance, ...], intents: tuple[Intent, ...]
    ) -> Observation:
        """What a policy gets to see of the last look."""
        seen = self.seen or {}
        flow = self.flow
        measured = Measured(self.service, self.boot, flow.arrivals, flow.waiting(now), flow.finished)
        return Observation(now, confirmed(depth, seen), instances, intents, seen, measured)


def confirmed(depth: Depth, seen: Sightings) -> Depth:
    """The counts, corrected by what the workers say they hold: the queue's own may lag behind by a minute."""
    held = sum(one.beat.held for one in seen.values() if one.beat is not None and one.lost_since is None)
    return replace(depth, in_flight=max(depth.in_flight, held))
