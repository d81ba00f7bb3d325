"""Workers that beat and do nothing while photos wait: who is replaced, and when the cause is not a worker. Pure.

A worker whose receiving thread hangs goes on to beat, so it is not silent. It shows by this: it has nothing in
progress, and the count of messages that it received does not change although messages can be received. The same is seen
when the queue refuses all workers. Then new workers fare no better, and to replace them all would help nobody. So:

- If another worker took or finished a photo lately, each stuck worker is replaced.
- If none did, one is replaced, for a trial. Until any worker gets on again no other is replaced. The ledger says so.
- A worker that says that it waits for the store is never stuck.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from controller.sightings import Patience, Sighting

SERVICES = 20  # a worker may be idle for so many service times before it counts as stuck
NO_BETTER = (
    "workers beat and take no photo although some wait, and a new worker fared no better: the cause is not the "
    "workers, none is replaced"
)


@dataclass(frozen=True, slots=True)
class Standstill:
    """seen: what is known of each instance. tried: whether a worker was replaced since any last got on.
    words: why nothing is replaced although nothing gets on; "" when all is well."""

    seen: dict[str, Sighting]
    tried: bool = False
    words: str = ""


def patience_for(patience: Patience, service_seconds: float) -> Patience:
    """The patience with workers of this measured service time."""
    return replace(patience, stuck=max(patience.stuck, SERVICES * service_seconds))


def judge(seen: Mapping[str, Sighting], tried: bool, now: float, patience: Patience) -> Standstill:
    """Mark the workers that are stuck."""
    tried = tried and not any(one.got_on == now for one in seen.values())
    standing = [name for name, one in seen.items() if _stands_too_long(one, now, patience)]
    after = dict(seen)
    if not standing:
        return Standstill(after, tried, _waiting(seen.values()))
    others = any(one.got_on is not None and now - one.got_on <= patience.stuck for one in seen.values())
    if tried and not others:
        return Standstill(after, tried, _waiting(seen.values()) or NO_BETTER)
    longest = min(standing, key=lambda name: (seen[name].stood_since or 0.0, name))
    for name in standing if others else [longest]:
        after[name] = replace(seen[name], stuck=_why(seen[name], patience))
    return Standstill(after, True, _waiting(seen.values()))


def _stands_too_long(one: Sighting, now: float, patience: Patience) -> bool:
    """Whether the worker is stuck by its latest beat. A worker that is marked already is not marked again."""
    if one.beat is None or one.stood_since is None or one.stuck or one.beat_changed != now:
        return False
    return now - one.stood_since > _limit(one, patience)


def _limit(one: Sighting, patience: Patience) -> float:
    # A busy worker that hangs ends by itself: this is for one that cannot even do that.
    return patience.stuck + (patience.stalled if one.beat is not None and one.beat.in_progress else 0.0)


def _why(one: Sighting, patience: Patience) -> str:
    doing = "finished no photo" if one.beat is not None and one.beat.in_progress else "took no photo although some wait"
    return f"beats and {doing} for more than {_limit(one, patience):g} s"


def _waiting(seen: Iterable[Sighting]) -> str:
    count = sum(one.beat is not None and one.beat.waits_for_store and one.lost_since is None for one in seen)
    if not count:
        return ""
    who = "a worker waits" if count == 1 else f"{count} workers wait"
    return f"{who} for the store, which does not answer or is full; none is replaced for that"
