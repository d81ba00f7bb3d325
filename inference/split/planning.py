"""Chooses where a photo is labelled: on the device, in the cloud, or on both sides of a cut. Pure.

What a photo takes is the sum of what was measured: the device's work, the way there and back over the link, and what
happens at the other end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from shoal.errors import Permanent

GOALS = ("time", "money", "bytes")
TIME, MONEY, BYTES = GOALS
NO_LIMIT = 1e12  # bytes a second of a link on which larger messages take no longer


@dataclass(frozen=True, slots=True)
class LinkSpeed:
    """The way to the endpoint and back, as transfers showed it.

    round_trip: seconds of an exchange of almost nothing.
    """

    bytes_per_second: float
    round_trip: float

    def seconds(self, size: float) -> float:
        """How long it takes to send `size` bytes and to get a short answer."""
        return self.round_trip + size / self.bytes_per_second

    def __str__(self) -> str:
        rate = "no limit seen" if self.bytes_per_second >= NO_LIMIT else f"{8 * self.bytes_per_second / 1e6:.3g} Mbit/s"
        return f"{rate}, round trip {1000 * self.round_trip:.0f} ms"


def link_speed(transfers: Iterable[tuple[int, float]]) -> LinkSpeed:
    """The link of transfers of at least two sizes: (bytes sent, seconds until the answer).

    Of each size the median counts, so that a slow transfer now and then changes nothing; between the sizes the median
    of the slopes (Theil 1950). Raises ValueError for fewer sizes.
    """
    by_size: dict[int, list[float]] = {}
    for size, seconds in transfers:
        by_size.setdefault(size, []).append(seconds)
    points = sorted((size, median(seconds)) for size, seconds in by_size.items())
    if len(points) < 2:
        raise ValueError("a link is measured with transfers of two sizes")
    pairs = itertools.combinations(points, 2)
    slope = max(median((late - early) / (large - small) for (small, early), (large, late) in pairs), 1 / NO_LIMIT)
    return LinkSpeed(1 / slope, max(0.0, median(seconds - slope * size for size, seconds in points)))


@dataclass(frozen=True, slots=True)
class SeenCall:
    """A call on a way, in seconds. total: of it all. device: on the device. model: at the other end."""

    total: float
    device: float
    model: float
    sent_bytes: float


@dataclass(frozen=True, slots=True)
class Shares:
    """What the calls on some ways took. device, model: the medians of each way. waiting: the same for all of them."""

    device: tuple[float, ...]
    model: tuple[float, ...]
    waiting: float


def shares(ways: Sequence[Sequence[SeenCall]], link: LinkSpeed) -> Shares:
    """How the calls on each way divide. `link` is the one that they went over.

    Queues and stores are the same for all ways, so what all calls waited there tells more than those of one. The wait
    is what is left of whole calls when the medians of the other parts are taken off. The median of the waits alone
    would be too little: each part is slow now and then, and medians of parts add up to less than the median of sums.
    """
    device = tuple(median(one.device for one in calls) for calls in ways)
    model = tuple(median(one.model for one in calls) for calls in ways)
    left = [
        one.total - here - there - link.seconds(one.sent_bytes)
        for calls, here, there in zip(ways, device, model, strict=True)
        for one in calls
    ]
    return Shares(device, model, max(0.0, median(left)))


@dataclass(frozen=True, slots=True)
class Way:
    """A way to label a photo, and what it takes for each photo.

    name:           of the cut; "all local" or the name of what is sent of a whole photo.
    sends_photo:    whether the photo, whole or resized, leaves the device.
    device_seconds: opening, the head, packing; resizing; or the whole model.
    sent_bytes:     0 if nothing leaves the device.
    waiting:        seconds at the other end besides the model: queues, storing.
    tail_seconds:   of the model at the other end.
    dollars:        for 1,000 photos; None where no price is known.
    """

    name: str
    sends_photo: bool
    device_seconds: float
    sent_bytes: float = 0.0
    waiting: float = 0.0
    tail_seconds: float = 0.0
    dollars: float | None = 0.0

    def total(self, link: LinkSpeed) -> float:
        """Seconds from the photo to its label."""
        way = link.seconds(self.sent_bytes) if self.sent_bytes else 0.0
        return self.device_seconds + way + self.waiting + self.tail_seconds

    def reckoning(self, link: LinkSpeed) -> str:
        """The sum in words."""
        if not self.sent_bytes:
            return f"{self.name}: {_ms(self.total(link))}"
        here = "resized here" if self.sends_photo else "head"
        parts = [f"{here} {_ms(self.device_seconds)}"] if self.device_seconds else []
        parts.append(f"{self.sent_bytes / 1e3:.0f} KB in {_ms(link.seconds(self.sent_bytes))}")
        parts.append(f"wait {_ms(self.waiting)}")
        parts.append(f"{'model' if self.sends_photo else 'tail'} {_ms(self.tail_seconds)}")
        return f"{self.name}: {', '.join(parts)}: {_ms(self.total(link))}"


@dataclass(frozen=True, slots=True)
class WayChosen:
    """The way that was chosen, in one sentence with its reckoning; `ways`: all that were looked at, the best first.

    The ways that the condition excludes come last.
    """

    chosen: Way
    ways: tuple[Way, ...]
    sentence: str


def choose(ways: Sequence[Way], link: LinkSpeed, goal: str = TIME, never_send_photo: bool = False) -> WayChosen:
    """The way that takes the least time, money or bytes; of equal ones the fastest.

    Raises Permanent if no way is left: none was measured, all send the photo, or no price is known.
    """

    def order(way: Way) -> tuple[float, float]:
        least = {TIME: way.total(link), MONEY: way.dollars or 0.0, BYTES: way.sent_bytes}[goal]
        return (least, way.total(link))

    allowed = [
        way for way in ways if not (never_send_photo and way.sends_photo) and (goal != MONEY or way.dollars is not None)
    ]
    if not allowed:
        raise Permanent(_nothing_left(ways, never_send_photo))
    ordered = sorted(allowed, key=order)
    rest = sorted((way for way in ways if way not in allowed), key=order)
    return WayChosen(ordered[0], (*ordered, *rest), _sentence(ordered, rest, link, goal, never_send_photo))


def _nothing_left(ways: Sequence[Way], never_send_photo: bool) -> str:
    if not ways:
        return "nothing can be planned: no cut is prepared and served, and the whole model is not here"
    if never_send_photo:
        return "no way keeps the photo here: `shoal split prepare` makes a cut, `shoal models prepare` the whole model"
    return "no way has a known price: set SHOAL_PRICE_PER_HOUR"


def _sentence(ordered: Sequence[Way], rest: Sequence[Way], link: LinkSpeed, goal: str, never_send_photo: bool) -> str:
    best = ordered[0]
    told = [best.reckoning(link)]
    if len(ordered) > 1:
        told.append(f"next {ordered[1].reckoning(link)}")
    if never_send_photo and rest:
        fastest = min(rest, key=lambda way: way.total(link))
        told.append(f"{fastest.reckoning(link)}, but you asked that no photo be sent")
    why = {TIME: "the least time", MONEY: "the least money", BYTES: "the fewest bytes"}[goal]
    return f"{'; '.join(told)}; so {best.name}, for {why}."


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
