"""An entry of the controller's ledger: a JSON line for each decision with news. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shoal.errors import MalformedMessage
from shoal.safe_json import array, integer, moment, number, read_object, text

VERSION = 2  # lines without a version are of 1: they counted no arrivals, and `finished` since the controller's start

_CAP = "cap "

ActKind = Literal["launch", "drain", "terminate"]


@dataclass(frozen=True, slots=True)
class DoneAct:
    """What was done to some machines. machines: the names of a launch, the instance ids of the others."""

    kind: ActKind
    machines: tuple[str, ...]
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        if self.kind == "launch":
            return {"act": self.kind, "names": list(self.machines)}
        return {"act": self.kind, "ids": list(self.machines), "why": self.why}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> DoneAct:
        """Raises KeyError, TypeError or ValueError."""
        kind: ActKind = fields["act"]
        if kind not in ("launch", "drain", "terminate"):
            raise ValueError(f"{kind!r} is no act")
        machines = fields["names" if kind == "launch" else "ids"]
        return cls(kind, tuple(map(text, machines)), text(fields.get("why", "")))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was wanted and not done: for how many machines, and why."""

    count: int
    why: str

    @classmethod
    def by_cap(cls, count: int, cap: int, leaving: int) -> Refusal:
        """The pool may not grow: it has `cap` machines, and those that leave count until they are gone."""
        return cls(count, f"{_CAP}{cap}, {leaving} on their way out count")

    @property
    def is_cap(self) -> bool:
        """Whether it is the cap that refuses."""
        return self.why.startswith(_CAP)


@dataclass(frozen=True, slots=True)
class Spent:
    """The cost of this budget period from `since` until `at`, in the budget's currency.

    machines: how many run from then on.
    since:    when the period began, or later when the counting did: with the budget. 0 when it is not known.
    """

    at: float
    amount: float = 0.0
    machines: int = 0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """How many machines are in each state. Together they are all that the cap counts."""

    running: int = 0
    pending: int = 0
    lost: int = 0
    leaving: int = 0


@dataclass(frozen=True, slots=True)
class PoolRate:
    """What so many workers did together while photos waited for them.

    per_second: photos of the whole pool. at: when it was measured last. backlog: unanswered photos then.
    """

    workers: int
    per_second: float
    at: float
    backlog: int

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> PoolRate:
        """Raises KeyError, TypeError or ValueError."""
        workers, per_second = integer(fields["workers"]), number(fields["per_second"])
        if workers < 1 or per_second <= 0:
            raise ValueError(f"{workers} workers that do {per_second} photos/s are no rate")
        return cls(workers, per_second, moment(fields["at"]), integer(fields["backlog"]))


@dataclass(frozen=True, slots=True)
class Entry:
    """One tick of the controller. What it says holds until the next entry.

    at:                  seconds since 1970, the controller's clock.
    sentence:            the entry in words.
    visible, in_flight, delayed: messages of the request queue, approximate.
    machines:            machines that exist or were asked for.
    desired, reason:     the decision, and the policy's explanation.
    arrived, finished:   photos since the last entry with the same `dry_run`; see below.
    dropped:             of those finished, photos that were cancelled or whose batch was deleted: they have no label.
    bulk_finished:       photos of bulk runs finished since then; no other count has them.
    counted, unseen:     what the next life of the controller needs to go on with these counts; see below.
    oldest_seconds:      age of the oldest photo that waits, derived from the counts.
    arrivals_per_second: average of the last target time.
    service_seconds:     seconds of a worker's time for one photo, as the policy plans with.
    boot_seconds:        seconds from a launch to the first beat, as the policy plans with.
    pool:                the machines by state.
    done:                the acts as they took effect; in a dry run, what would have been done.
    refused:             what was wanted and not done.
    spent:               None without a budget.
    token:               the fencing token of the lease that it acted under.
    dry_run:             whether nothing was done.
    standstill:          why nothing gets on although photos wait, when no worker is to blame; "" when all is well.
    alone_seconds:       seconds of a worker's time for one photo when it shares nothing with other workers.
    rates:               what so many workers did together; several workers may share what limits them.
    no_launch:           why the budget lets no machine start, also while none is wanted; "" when it lets one start.
    emulated:            whether its machines were processes on this machine, which cost nothing.
    begins:              whether it is the first of a controller: nobody looked just before it.
    ends:                whether the controller stopped: nobody looks after it, until the next entry.

    How photos are counted. `finished` is the growth of the workers' own counts, summed: deliveries finished, so a photo
    that is labelled twice counts twice. A worker that leaves tells its last count. What a worker that is killed
    finished after its last beat is missed. Nobody tells the controller of an arrival, so it derives them from
    conservation:

        arrived = growth of the backlog + finished

    Ticks that the ledger leaves out add to the next entry. The first entry of a new ledger counts its whole backlog
    as arrived. A message leaves the queue up to one beat before its worker tells so. Until then the sum is too low by
    `unseen` photos; the next arrivals wait for it, so that nothing counts twice. What stays unseen for a minute (dead
    letters, purged messages, the last photos of a killed worker) is written off. `counted` is the sum of the counts of
    all workers whose instances are there: a controller that starts again compares all counts in the register with it,
    and counts nothing twice.
    """

    at: float
    sentence: str
    visible: int
    in_flight: int
    delayed: int
    machines: int
    desired: int
    reason: str = ""
    arrived: int = 0
    finished: int = 0
    counted: int = 0
    unseen: int = 0
    oldest_seconds: float = 0.0
    arrivals_per_second: float = 0.0
    service_seconds: float = 0.0
    boot_seconds: float = 0.0
    pool: PoolCounts = PoolCounts()
    done: tuple[DoneAct, ...] = ()
    refused: tuple[Refusal, ...] = ()
    spent: Spent | None = None
    token: int = 0
    dry_run: bool = False
    standstill: str = ""
    alone_seconds: float = 0.0
    rates: tuple[PoolRate, ...] = ()
    no_launch: str = ""
    begins: bool = False
    ends: bool = False
    dropped: int = 0
    bulk_finished: int = 0
    emulated: bool = False

    @property
    def machines_after(self) -> int:
        """Machines once its acts were done: it counts those that were launched, which `machines` does not know yet."""
        return self.machines + sum(len(act.machines) for act in self.done if act.kind == "launch")

    @property
    def hindrance(self) -> str:
        """Why photos wait although more machines are wanted, for people; "" when nothing stands in the way.

        To reach the cap is normal and no hindrance.
        """
        refused = "; ".join(one.why for one in self.refused if not one.is_cap)
        if self.standstill or not refused:
            return self.standstill
        some = self.machines or any(act.kind == "launch" for act in self.done)
        return f"{'no more workers' if some else 'no worker'} can start: {refused}"

    @property
    def backlog(self) -> int:
        """Messages of any kind."""
        return self.visible + self.in_flight + self.delayed

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON types."""
        return {"v": VERSION, **asdict(self), "done": [act.to_dict() for act in self.done]}

    def to_json(self) -> str:
        """The entry as one line, without its end."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Entry:
        """Read an entry; fields that an older version did not write get their defaults. Raises MalformedMessage."""
        try:
            spent = fields.get("spent")
            counts = fields if integer(fields.get("v", 1)) >= VERSION else {}
            return cls(
                at=moment(fields["at"]),
                sentence=text(fields["sentence"]),
                visible=integer(fields["visible"]),
                in_flight=integer(fields["in_flight"]),
                delayed=integer(fields["delayed"]),
                machines=integer(fields["machines"]),
                desired=integer(fields["desired"]),
                reason=text(fields.get("reason", "")),
                arrived=integer(counts.get("arrived", 0)),
                finished=integer(counts.get("finished", 0)),
                dropped=integer(counts.get("dropped", 0)),
                bulk_finished=integer(counts.get("bulk_finished", 0)),
                counted=integer(counts.get("counted", 0)),
                unseen=integer(counts.get("unseen", 0)),
                oldest_seconds=number(fields.get("oldest_seconds", 0.0)),
                arrivals_per_second=number(fields.get("arrivals_per_second", 0.0)),
                service_seconds=number(fields.get("service_seconds", 0.0)),
                boot_seconds=number(fields.get("boot_seconds", 0.0)),
                alone_seconds=number(fields.get("alone_seconds", 0.0)),
                rates=tuple(PoolRate.from_dict(rate) for rate in array(fields, "rates")),
                pool=PoolCounts(**{state: integer(count) for state, count in fields.get("pool", {}).items()}),
                standstill=text(fields.get("standstill", "")),
                no_launch=text(fields.get("no_launch", "")),
                done=tuple(DoneAct.from_dict(act) for act in array(fields, "done")),
                refused=tuple(Refusal(integer(one["count"]), text(one["why"])) for one in array(fields, "refused")),
                spent=_spent(spent) if spent else None,
                token=integer(fields.get("token", 0)),
                dry_run=fields.get("dry_run") is True,
                begins=fields.get("begins") is True,
                ends=fields.get("ends") is True,
                emulated=fields.get("emulated") is True,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedMessage(f"not an entry of a ledger: {str(error)[:300]!r}") from error

    @classmethod
    def from_json(cls, line: str) -> Entry:
        """Read a line. Raises MalformedMessage."""
        return cls.from_dict(read_object(line, "an entry of a ledger"))


def machines_between(one: Entry, following: Entry | None) -> int:
    """How many machines ran from an entry until the following one of the same ledger; None when there is none.

    While no controller looked, those count that were there before and afterwards.
    """
    if following is None:
        return 0 if one.ends else one.machines_after
    if one.ends or following.begins:
        return min(one.machines_after, following.machines)
    return one.machines_after


def _spent(fields: Mapping[str, Any]) -> Spent:
    amount, machines = number(fields.get("amount", 0.0)), integer(fields.get("machines", 0))
    return Spent(moment(fields["at"]), amount, machines, moment(fields.get("since", 0.0)))
