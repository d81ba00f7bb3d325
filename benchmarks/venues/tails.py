"""`python -m benchmarks.venues.tails MODEL CUT ...`: the tails of these cuts in Lambda, beside the whole model there.

Starts an embedded cloud of its own and makes both functions. The heads and tails must be prepared (`shoal split
prepare MODEL CUT`). Prints the published table beside ours: a first call to a function that does not run yet (cold),
and the median of the calls after it (hot), each turn through all of them with the same photos. `call` is what the
caller waits, head included; `function` what the model, or the tail, computed there. It also says for how many photos of
all at hand the tail gives the whole model's label. SHOAL_PRECISION chooses the arithmetic of all of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.running.processes import embedded_cloud
from comparison.lambda_venue import LambdaVenue
from comparison.link import Link
from comparison.measurement import AS_IT_IS, Lane, Measurement
from comparison.running import Door
from comparison.schedule import Stint
from inference.preparing.photos import fetch
from inference.split.point import tail_name
from shoal import aws, settings
from shoal.settings import Settings
from shoal_cli._splitting._by_function import tail_calls
from shoal_cli._splitting._device import Device, never_sent_before
from shoal_cli._splitting._tail_calls import TailDoor

TURNS = 24  # photos that are timed; all are compared
WHOLE = "the whole model"
PUBLISHED = (  # seconds, of an emotion net; what they measured is in docs/split.md
    ("full model, cold", 18.0),
    ("full model, hot", 3.2),
    ("5 layers in the cloud", 3.7),
    ("4 layers", 3.0),
    ("3 layers", 2.5),
)

console = Console(highlight=False, width=140)


@dataclass(frozen=True)
class TailFigures:
    """Seconds of a lane, medians but for `cold`. labels: photo -> the best label."""

    cold: float
    call: float
    device: float
    function: float
    labels: Mapping[str, str]


def main(model: str, cuts: Sequence[str]) -> None:
    """Measure, and print both tables."""
    tails = [tail_name(model, cut) for cut in cuts]
    with tempfile.TemporaryDirectory(prefix="shoal-tails-") as folder, embedded_cloud(Path(folder)) as cloud:
        chosen = replace(settings.load(), cloud=cloud, emulated=True, model=model, models="", tails=",".join(tails))
        photos = {f"{number:03d}.jpg": path.read_bytes() for number, path in enumerate(fetch(chosen.cache_dir))}
        aws.prepare(chosen)
        aws.prepare_function(chosen)
        aws.prepare_tail_function(chosen)
        found = _measured(chosen, tails, photos)
    _tell(found, len(photos))


def _measured(chosen: Settings, tails: Sequence[str], photos: Mapping[str, bytes]) -> dict[str, TailFigures]:
    cloud = aws.connect(chosen)
    calls, _, _ = tail_calls(chosen)
    doors: dict[str, Door] = {WHOLE: LambdaVenue(cloud.inputs, cloud.outputs, chosen.lambda_prefix, Link())}
    for tail in tails:
        doors[tail] = TailDoor(calls, never_sent_before(Device.of(chosen, tail, "", "")))
    cold, taken = dict[str, float](), {name: list[Measurement]() for name in doors}
    for number, (photo, content) in enumerate(photos.items()):
        for name, door in doors.items():
            if number == 0 and name != WHOLE:
                aws.prepare_tail_function(chosen)  # its processes end: what comes next starts one
            one = door.measure(Stint(Lane(name, AS_IT_IS), 0, "measured", (photo,)), photo, content)
            if one.error:
                raise RuntimeError(f"{name}: {photo}: {one.error}")
            cold.setdefault(name, one.total)
            taken[name].append(one)
    return {name: _figures(cold[name], found) for name, found in taken.items()}


def _figures(cold: float, found: Sequence[Measurement]) -> TailFigures:
    hot = found[1 : 1 + TURNS]

    def middle(seconds: Callable[[Measurement], float]) -> float:
        return median(map(seconds, hot))

    labels = {one.photo: one.label for one in found}
    return TailFigures(
        cold, middle(lambda one: one.total), middle(lambda one: one.device),
        middle(lambda one: one.inference - one.device), labels,
    )  # fmt: skip


def _tell(found: Mapping[str, TailFigures], count: int) -> None:
    whole = found[WHOLE]
    table = Table("in Lambda", "cold", "call", "of it here", "function", "to the whole", "same label", box=None)
    for name, one in found.items():
        same = sum(one.labels[photo] == label for photo, label in whole.labels.items())
        table.add_row(
            name, f"{one.cold:.2f} s", f"{1000 * one.call:.0f} ms", f"{1000 * one.device:.0f}",
            f"{1000 * one.function:.1f}", f"{one.function / whole.function:.2f}", f"{same} of {count}",
        )  # fmt: skip
    console.print(table)
    full = dict(PUBLISHED)["full model, hot"]
    published = Table("published", "seconds", "to the hot full model", box=None)
    for name, seconds in PUBLISHED:
        published.add_row(name, f"{seconds:g}", f"{seconds / full:.2f}")
    console.print(published)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
