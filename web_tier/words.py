"""Numbers for people: counts, durations, sizes and shares in the words that every page shows. Pure.

Scripts place these words and make none; static/js/words.js has the few that a page needs before anything is sent.
"""

from __future__ import annotations

from math import floor

# A page says this before it sends a file: it is given the sentence with the file's size left open.
TOO_LARGE = "the file has {size}; at most {limit} are taken"


def number(count: int) -> str:
    """`2,000`."""
    return f"{count:,}"


def plural(count: int, word: str) -> str:
    """The word's form for a count."""
    return word if count == 1 else f"{word}s"


def photos(count: int) -> str:
    """`1 photo`, `2,000 photos`."""
    return f"{number(count)} {plural(count, 'photo')}"


def duration(seconds: float, exact: bool = False) -> str:
    """A time span: `45 s`, `3 min`, `2.5 h`.

    Rounds half up to the last digit shown, so it is at most half a unit off. Seconds are shown below 90 s, minutes
    below 90 min, then hours: tenths of an hour below 10 h. Below one second it is `less than a second`; `exact` shows
    milliseconds there and tenths of a second below 10 s.
    """
    if seconds < 1:
        if not exact:
            return "less than a second"
        if (milliseconds := _round(seconds * 1000)) < 1000:
            return f"{milliseconds} ms"
    if exact and (tenths := _round(seconds * 10)) < 100:
        return f"{tenths / 10:.1f} s"
    if seconds < 90:
        return f"{_round(seconds)} s"
    if seconds < 90 * 60:
        return f"{_round(seconds / 60)} min"
    if (tenths := _round(seconds / 360)) < 100:
        return f"{tenths / 10:.1f}".removesuffix(".0") + " h"
    return f"{number(_round(seconds / 3600))} h"


def size(count: int) -> str:
    """A size in bytes: `900 bytes`, `12 KB`, `3.4 MB`, `1.2 GB`. 1 KB is 1,024 bytes; rounds half up."""
    if count < 1024:
        return f"{count} bytes"
    kilo = _round(count / 1024)
    if kilo < 1024:
        return f"{kilo} KB"
    for unit, tenths in (("MB", _round(count * 10 / 1024**2)), ("GB", _round(count * 10 / 1024**3))):
        if tenths < 10_240 or unit == "GB":
            break
    return f"{tenths / 10:.1f}".removesuffix(".0") + f" {unit}"


def percent(share: float) -> str:
    """A share of 1: `<0.1 %`, `4.2 %`, `45 %`. Tenths are shown below ten percent; rounds half up."""
    if share < 0.001:
        return "<0.1 %"
    tenths = _round(share * 1000)
    return f"{tenths / 10:.1f} %" if tenths < 100 else f"{_round(share * 100)} %"


def too_large(count: int, limit: int) -> str:
    """What is wrong with a file of `count` bytes where `limit` are taken."""
    return TOO_LARGE.format(size=size(count), limit=size(limit))


def _round(value: float) -> int:
    """To the next whole number, half up, as JavaScript's Math.round does."""
    return floor(value + 0.5)
