"""When photos arrive: made by a named generator, or read from a file. Ascending seconds from the beginning."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

from shoal.errors import Permanent
from shoal.ledger import Entry

Arrivals = Sequence[float]

# A recorded hour that comes with Shoal: the arrival times of 8,819 requests to a model in 57 minutes, most 67 in one
# second. From Microsoft's AzurePublicDataset, AzureLLMInferenceTrace_code.csv (Patel et al., Splitwise), CC-BY-4.0.
RECORDED = {"azure-code": Path(__file__).with_name("azure-llm-2023-code.csv")}
MOST_PHOTOS = 20_000_000
# The share of a day's photos in each hour, of a service that people use by day: least at 4, most at 15 and 20 o'clock.
DAY_CURVE = (
    2.2,
    1.5,
    1.1,
    0.9,
    0.8,
    1.0,
    1.7,
    2.9,
    4.2,
    5.2,
    5.8,
    6.0,
    5.7,
    5.9,
    6.2,
    6.4,
    6.2,
    5.9,
    5.6,
    5.8,
    6.2,
    5.6,
    4.3,
    2.9,
)


def constant(photos: int, seconds: float, dice: Random) -> Iterator[float]:  # noqa: ARG001 - a generator's signature
    """One after the other at the same distance."""
    return (seconds * number / photos for number in range(photos))


def poisson(photos: int, seconds: float, dice: Random) -> Iterator[float]:
    """Independent of each other, at the same rate all the time."""
    return iter(sorted(dice.uniform(0, seconds) for _ in range(photos)))


def burst(photos: int, seconds: float, dice: Random) -> Iterator[float]:  # noqa: ARG001 - a generator's signature
    """All at the beginning, within a hundredth of the time but at most ten seconds."""
    spread = min(10.0, seconds / 100)
    return (spread * number / photos for number in range(photos))


def day(photos: int, seconds: float, dice: Random) -> Iterator[float]:
    """Few at night, many by day: independent photos whose rate follows DAY_CURVE. `seconds` stand for the whole day."""
    hours = dice.choices(range(24), DAY_CURVE, k=photos)
    return iter(sorted((hour + dice.random()) / 24 * seconds for hour in hours))


def flash(photos: int, seconds: float, dice: Random) -> Iterator[float]:
    """A quiet stream, and in its middle a crowd: half of all photos come within a fiftieth of the time."""
    crowd = photos // 2
    quiet = [dice.uniform(0, seconds) for _ in range(photos - crowd)]
    begin, length = seconds / 2, seconds / 50
    return iter(sorted(quiet + [begin + dice.triangular(0, length, length / 5) for _ in range(crowd)]))


def on_off(photos: int, seconds: float, dice: Random) -> Iterator[float]:
    """Twelve times as many photos as on average in each first five minutes of an hour, none in the rest of it."""
    period, on = min(3600.0, seconds), min(300.0, seconds / 12)
    periods = max(1, math.floor(seconds / period))
    return iter(sorted(dice.randrange(periods) * period + dice.uniform(0, on) for _ in range(photos)))


def batches(photos: int, seconds: float, dice: Random) -> Iterator[float]:
    """People who send albums: sizes have a heavy tail (Pareto, index 1.2), at most a tenth of all photos."""
    times: list[float] = []
    while len(times) < photos:
        size = min(int(dice.paretovariate(1.2) * 5), max(1, photos // 10), photos - len(times))
        at = dice.uniform(0, seconds)
        times += [min(seconds, at + 0.05 * number) for number in range(size)]  # an upload sends some 20 photos a second
    return iter(sorted(times))


GENERATORS: dict[str, Callable[[int, float, Random], Iterator[float]]] = {
    "constant": constant,
    "poisson": poisson,
    "burst": burst,
    "day": day,
    "flash": flash,
    "on-off": on_off,
    "batches": batches,
}


def read(path: Path) -> list[float]:
    """Read a file: a head line and a time in seconds on each further line, or a time and how many photos came then.

    The times become seconds from the first. Raises Permanent, which names the line.
    """
    times: list[float] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if number == 1 or not row:
                continue
            try:
                at, count = float(row[0]), int(row[1]) if len(row) > 1 else 1
            except ValueError:
                raise Permanent(f"{path}, line {number}: expected a time in seconds, or a time and a count") from None
            if not 0 <= count <= MOST_PHOTOS - len(times) or not math.isfinite(at):
                raise Permanent(f"{path}, line {number}: more than {MOST_PHOTOS:,} photos, or a wrong number")
            times += [at] * count
    if not times:
        raise Permanent(f"{path} has no arrivals")
    if any(one > other for one, other in pairwise(times)):
        times.sort()
    first = times[0]
    return [at - first for at in times]


def of_ledger(entries: Sequence[Entry]) -> list[float]:
    """The arrivals that a controller's ledger counted: spread evenly between two entries. Raises Permanent for none.

    Entries of a dry run say what another controller saw as well, so they are left out.
    """
    kept = [one for one in entries if not one.dry_run]
    times: list[float] = []
    for before, entry in pairwise(kept):
        if entry.arrived > 0 and entry.at > before.at:
            step = (entry.at - before.at) / entry.arrived
            times += [before.at + step * (number + 1) for number in range(entry.arrived)]
    if kept and kept[0].arrived > 0:
        times = [kept[0].at] * kept[0].arrived + times
    if not times:
        raise Permanent("the ledger has no arrivals")
    times.sort()
    return [at - times[0] for at in times]
