"""A calendar of minimums: the fewest workers for each time of the week. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_A_DAY = 24 * 60
MINUTES_A_WEEK = 7 * MINUTES_A_DAY

_LINE = re.compile(r"(?P<days>\S+)\s+(?P<begin>\d\d?:\d\d)-(?P<end>\d\d?:\d\d)\s+(?P<least>\d+)")


@dataclass(frozen=True, slots=True)
class Span:
    """At least `least` workers from `begin` to `end`: minutes since Monday 00:00; `end` may be in the next week."""

    begin: int
    end: int
    least: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """The spans of a week, in the local time of `zone` (a name of the time zone database).

    Spans keep their times of day when the clocks change, so a span on that day is an hour longer or shorter.
    """

    spans: tuple[Span, ...] = ()
    zone: str = "UTC"

    def least(self, now: float) -> int:
        """The minimum at `now` (seconds since 1970): the largest of the spans around it, 0 outside all spans."""
        if not self.spans:
            return 0
        there = datetime.fromtimestamp(now, _zone(self.zone))
        minute = there.weekday() * MINUTES_A_DAY + there.hour * 60 + there.minute
        both_weeks = (minute, minute + MINUTES_A_WEEK)
        return max(
            (span.least for span in self.spans if any(span.begin <= at < span.end for at in both_weeks)), default=0
        )


def parse(text: str, zone: str) -> Calendar:
    """Read "Mon-Fri 08:00-18:00 3; Sat,Sun 10:00-14:00 1; daily 22:00-06:00 1". Entries are separated by ; or newline.

    A span whose end is not after its begin ends on the next day. Raises ValueError, which says what is wrong.
    """
    try:
        _zone(zone)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"there is no time zone {zone!r}") from error
    entries = (entry.strip() for entry in re.split(r"[;\n]", text))
    return Calendar(tuple(span for entry in entries if entry for span in _spans(entry)), zone)


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # a machine without the time zone database knows UTC


def _spans(entry: str) -> list[Span]:
    found = _LINE.fullmatch(entry)
    if found is None:
        raise ValueError(f"{entry!r} is not like 'Mon-Fri 08:00-18:00 3'")
    begin, end, least = _minutes(found["begin"]), _minutes(found["end"]), int(found["least"])
    length = end - begin if end > begin else end - begin + MINUTES_A_DAY
    starts = (day * MINUTES_A_DAY + begin for day in _days(found["days"]))
    return [Span(start, start + length, least) for start in starts]


def _minutes(text: str) -> int:
    hour, minute = (int(part) for part in text.split(":"))
    if hour > 24 or minute > 59 or hour * 60 + minute > MINUTES_A_DAY:
        raise ValueError(f"{text!r} is no time of day")
    return hour * 60 + minute


def _days(text: str) -> list[int]:
    if text.lower() == "daily":
        return list(range(7))
    return [day for part in text.split(",") for day in _day_range(part)]


def _day_range(text: str) -> list[int]:
    first, dash, last = text.partition("-")
    begin, end = _day(first), _day(last if dash else first)
    return [(begin + step) % 7 for step in range((end - begin) % 7 + 1)]


def _day(text: str) -> int:
    if text.capitalize() not in DAYS:
        raise ValueError(f"{text!r} is no day: expected one of {', '.join(DAYS)}, a range, or daily")
    return DAYS.index(text.capitalize())
