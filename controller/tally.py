"""Photos that arrived and photos that were finished, counted from looks at the queue and at the workers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shoal.ledger import Entry

WRITE_OFF_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts since this controller started; `shoal.ledger.Entry` explains how they are derived.

    arrived, finished: photos; they only grow.
    dropped:           of those finished, photos that were cancelled or deleted; it only grows.
    bulk_finished:     photos of bulk runs that were finished; no other count has them; it only grows.
    counted:           the finished counts of the workers whose instances are there, summed.
    unseen:            photos that left the queue and that no worker has told of yet.
    left:              photos that left the queue, whether or not a worker has told of them; it only grows.
    backlog:           messages at the last look; None before the first.
    settled_at:         when `unseen` was last 0 (seconds since 1970).
    """

    arrived: int = 0
    finished: int = 0
    counted: int = 0
    unseen: int = 0
    backlog: int | None = None
    settled_at: float = 0.0
    dropped: int = 0
    bulk_finished: int = 0
    left: int = 0

    @classmethod
    def after(cls, last: Entry) -> Tally:
        """Go on from the last entry of the controller before this one."""
        return cls(counted=last.counted, unseen=last.unseen, backlog=last.backlog, settled_at=last.at)

    def grown_to(self, counts: int) -> int:
        """Photos finished since the last entry of the controller before; 0 in a new ledger.

        counts: the finished counts of all workers that the register knows, those included that have ended meanwhile.
        """
        return max(0, counts - self.counted) if self.backlog is not None else 0

    def look(self, now: float, backlog: int, counted: int, finished: int) -> Tally:
        """After one more look. finished: photos finished since the look before."""
        grown = backlog - (self.backlog or 0) + finished - self.unseen
        unseen = max(0, -grown)
        tally = replace(
            self,
            arrived=self.arrived + max(0, grown),
            finished=self.finished + finished,
            counted=counted,
            unseen=unseen,
            left=self.left + max(0, finished - self.unseen + unseen),
            backlog=backlog,
            settled_at=now,
        )
        if not tally.unseen:
            return tally
        if now - self.settled_at > WRITE_OFF_SECONDS:
            return replace(tally, unseen=0)
        return replace(tally, settled_at=self.settled_at)

    def with_dropped(self, photos: int) -> Tally:
        """Count photos that were finished since the look before and for which nobody waited."""
        return replace(self, dropped=self.dropped + photos)

    def with_bulk(self, photos: int) -> Tally:
        """Count photos of bulk runs that were finished since the look before."""
        return replace(self, bulk_finished=self.bulk_finished + photos)
