"""The kinds of faults: what each does, and how often it happens. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    rate:  how often, from 0 to 1, of what `of` names.
    most:  how many calls in a row a hit makes fail at most, so that a client's own retries do not hide it.
    """

    name: str
    rate: float
    of: str
    what: str
    most: int = 1


_ALL = (
    FaultKind(
        "duplicate-delivery", 0.03, "messages received", "the same delivery comes once more, to the next receiver"
    ),
    FaultKind("late-delivery", 0.05, "messages sent", "comes 1 to 3 s late, so that later ones overtake it"),
    FaultKind("shuffled-delivery", 0.20, "receive calls", "the messages of an answer in any order"),
    FaultKind("short-receive", 0.15, "receive calls", "an answer with fewer messages than there are, often with none"),
    FaultKind("failed-delete", 0.02, "messages deleted", "refused with InternalError; it comes again"),
    FaultKind("late-failed-delete", 0.02, "messages deleted", "done, but answered with InternalError"),
    FaultKind("undone-delete", 0.01, "messages deleted", "answered with success, and yet the message comes again"),
    FaultKind("zero-count", 0.05, "calls for counts", "all of a queue's counts read zero"),
    FaultKind("stale-count", 0.10, "calls for counts", "the counts of up to a minute ago"),
    FaultKind("slow-down", 0.02, "S3 calls", "503 SlowDown, for up to six calls in a row", most=6),
    FaultKind("slow-first-byte", 0.03, "S3 calls", "0.1 to 2 s until the answer begins"),
    FaultKind("throttled", 0.05, "EC2 calls", "503 RequestLimitExceeded, for up to six calls in a row", most=6),
    FaultKind("describe-lag", 0.30, "launched instances", "EC2 does not know it for up to a minute"),
    FaultKind(
        "no-capacity", 0.15, "launches", "InsufficientInstanceCapacity for that type in that zone, for 1 to 5 minutes"
    ),
    FaultKind("less-capacity", 0.15, "launches of several", "fewer instances than MaxCount"),
    FaultKind("slow-boot", 0.10, "instances", "boots for 90 s more"),
    FaultKind("hung-boot", 0.03, "instances", "is running, but its user data and cron never start"),
    FaultKind("wrong-clock", 0.10, "instances", "its Python programs see a clock that is 2 to 10 minutes off"),
    FaultKind("interruption", 0.10, "instances", "spot notice after up to 10 minutes, terminated two minutes later"),
    FaultKind("vanishing", 0.05, "instances", "terminated without notice, after up to 10 minutes"),
    FaultKind("partition", 0.10, "instances", "after up to 10 minutes its calls hang for 1 to 5 minutes"),
)

KINDS: dict[str, FaultKind] = {kind.name: kind for kind in _ALL}
"""By name, in the order in which people read them."""
