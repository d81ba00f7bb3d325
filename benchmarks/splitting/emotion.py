"""`python -m benchmarks.splitting.emotion`: the published table of a cut emotion net, with ours beside it.

The published system ran its whole net in a cloud function, cold and hot, and then the last 5, 4 and 3 layers there, the
first ones on the user's device. Here the pool runs the whole net, and the tails behind cuts with 5, 4 and 3 of the
seven blocks of mini-XCEPTION: two convolutions, four modules, the last convolution with its softmax.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import click

from benchmarks.running.system import RunningSystem
from comparison.link import Link
from comparison.measurement import AS_IT_IS, Lane, Measurement
from comparison.running import Door
from comparison.schedule import Stint
from comparison.split_venue import CutDoor
from comparison.venue_api import VenueApi
from inference import store, tasks
from inference.preparing import photos as photo_sources
from inference.preparing.cutting import request
from inference.split.point import tail_name
from shoal import settings
from shoal_cli._splitting._device import Device, never_sent_before
from shoal_cli.models import example_photos

MODEL = "mini_xception"
CUTS = {5: "re_lu_1", 4: "add", 3: "add_1"}  # blocks of the net that the cloud runs -> the cut before them
PUBLISHED = {
    "whole, cold": 18.0,
    "whole, hot": 3.2,
    "5 in the cloud": 3.7,
    "4 in the cloud": 3.0,
    "3 in the cloud": 2.5,
}
WARM_UP = 4


@dataclass(frozen=True)
class CutRow:
    """A row of the table: seconds of a photo, of them on the device and in the model at the other end; bytes sent."""

    name: str
    seconds: float
    device: float
    cloud: float
    sent_bytes: float


@click.command()
@click.option("--calls", default=20, show_default=True, help="Calls of each kind that are counted.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def main(calls: int, as_json: bool) -> None:
    """Start a Shoal with the whole net and three tails, and send photos with faces, one after the other."""
    chosen = settings.load()
    known = [*example_photos(), *photo_sources.fetch(chosen.cache_dir)]
    for cut in CUTS.values():
        request.prepare_pair(MODEL, cut, chosen.engine, chosen.cache_dir, known, _say)
    with tempfile.TemporaryDirectory(prefix="shoal-emotion-") as folder:
        tails = [tail_name(MODEL, cut) for cut in CUTS.values()]
        system = RunningSystem(Path(folder), MODEL=MODEL, VENUES="pool,split", TAILS=",".join(tails), QUIET_SECONDS=600)
        system.start()
        try:
            lines = measured(system.address, _with_faces(known), calls)
        finally:
            system.stop()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in lines]))
        return
    click.echo("| | published, s | seconds | on the device | in the cloud's net | KB |\n|---|---|---|---|---|---|")
    for one in lines:
        parts = f"{one.seconds:.3f} | {one.device:.3f} | {one.cloud:.4f} | {one.sent_bytes / 1e3:.1f}"
        click.echo(f"| {one.name} | {PUBLISHED[one.name]} | {parts} |")


def measured(address: str, photos: Sequence[Path], calls: int) -> list[CutRow]:
    """The lines of the table. Raises RuntimeError if a call fails."""
    chosen, api = settings.load(), VenueApi(address, Link())
    cold = _call(api, "pool", photos[0])
    lines = [_line("whole, cold", [cold]), _line("whole, hot", _calls(api, "pool", photos, calls))]
    for left, cut in CUTS.items():
        tail = tail_name(MODEL, cut)
        device = Device.of(chosen, tail, "", "")
        lines.append(
            _line(f"{left} in the cloud", _calls(CutDoor(api, tail, never_sent_before(device)), cut, photos, calls))
        )
    return lines


def _calls(door: Door, cut: str, photos: Sequence[Path], calls: int) -> list[Measurement]:
    """So many calls, one after the other, behind some that are not counted."""
    found = [_call(door, cut, photos[number % len(photos)]) for number in range(WARM_UP + calls)]
    return found[WARM_UP:]


def _call(door: Door, lane: str, photo: Path) -> Measurement:
    found = door.measure(Stint(Lane(lane, AS_IT_IS), 1, "measured", (photo.name,)), photo.name, photo.read_bytes())
    if found.error:
        raise RuntimeError(f"{photo.name} failed: {found.error}")
    return found


def _line(name: str, calls: Sequence[Measurement]) -> CutRow:
    cloud = median(one.inference - one.device for one in calls)
    seconds, device = median(one.total for one in calls), median(one.device for one in calls)
    return CutRow(name, seconds, device, cloud, fmean(one.sent_bytes for one in calls))


def _with_faces(photos: Sequence[Path]) -> list[Path]:
    """The photos in which a face is found."""
    chosen = settings.load()
    model = store.model(MODEL, chosen.cache_dir)
    task = tasks.by_name(model.task)
    return [path for path in photos if len(task.decode(model, path.read_bytes(), chosen.max_pixels).tensor)]


def _say(words: str) -> None:
    click.echo(words, err=True)


if __name__ == "__main__":
    main()
