"""How fast this device is: a short benchmark of each head that is prepared here, and of the whole model. Kept, renewed.

<cache>/models/<model>/cuts/device.json
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from inference import engines, measured, store, tasks
from inference.photo_folders import readable
from inference.preparing.sources import Say
from shoal.errors import NotFound
from shoal.settings import Settings
from shoal_cli._splitting._device import Device

FILE = "device.json"
WHOLE = "all local"
BENCH_SECONDS = 2.0  # for each head
PHOTOS = 8
KEPT_SECONDS = 7 * 86_400
OTHER_LOAD = 0.25  # of all processors: more or less work of others than this changes the speed
LOOK_SECONDS = 0.5
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class DeviceSpeed:
    """What this device does. seconds: tail or WHOLE -> for a photo, opening and packing included.

    sent_bytes: tail -> of a packed activation, the mean of the photos. busy: the share of all processors that other
    programs took when it was measured. at: when, in seconds since 1970.
    """

    seconds: Mapping[str, float]
    sent_bytes: Mapping[str, float]
    busy: float
    at: float


def busy_share() -> float:
    """The share of all processors that programs take just now."""
    import psutil  # the planner alone needs it

    return float(psutil.cpu_percent(interval=LOOK_SECONDS)) / 100


def device_speed(
    chosen: Settings, model: str, devices: Mapping[str, Device], photos: Sequence[Path], say: Say, again: bool = False
) -> DeviceSpeed:
    """The speed of the heads of `devices` and of the whole model where it is prepared, for photos like these.

    What was measured is kept for a week, for the same heads, photos and kind of processor, and while other programs
    take about as much of the processors. again: measure anew.
    """
    shown = [path.read_bytes() for path in photos[:PHOTOS]]
    busy = busy_share()
    file = chosen.cache_dir / "models" / model / store.CUTS / FILE
    whole = _whole(chosen, model)
    made_for = _made_for(chosen, devices, whole, shown)
    kept = None if again else read(file, made_for)
    if kept and abs(kept.busy - busy) <= OTHER_LOAD and 0 <= time.time() - kept.at < KEPT_SECONDS:
        return kept
    seconds, sent = dict[str, float](), dict[str, float]()
    for tail, device in devices.items():
        say(f"measuring this device: the head of {readable(tail)}")
        seconds[tail], sent[tail] = _bench(device.pack, shown)
    if whole:
        say(f"measuring this device: the whole of {model}")
        seconds[WHOLE], _ = _bench(labelling(chosen, model), shown)
    found = DeviceSpeed(seconds, sent, busy, time.time())
    with suppress(OSError):  # a cache that cannot be written costs the time again
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"made_for": made_for, **asdict(found)}) + "\n")
    return found


def read(file: Path, made_for: Mapping[str, Any]) -> DeviceSpeed | None:
    """What is kept in a file, if it was measured for the same."""
    try:
        kept = json.loads(file.read_text())
        if kept["made_for"] != made_for:
            return None
        seconds, sent = (_numbers(kept[part]) for part in ("seconds", "sent_bytes"))
        return DeviceSpeed(seconds, sent, float(kept["busy"]), float(kept["at"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _numbers(fields: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(one) for name, one in fields.items()}


def _whole(chosen: Settings, model: str) -> store.Artefact | None:
    with suppress(NotFound):
        return store.find(model, chosen.engine, chosen.cache_dir, precision=chosen.precision)
    return None


def _made_for(
    chosen: Settings, devices: Mapping[str, Device], whole: store.Artefact | None, shown: Sequence[bytes]
) -> dict[str, Any]:
    heads = {tail: device.point.pair for tail, device in devices.items()}
    return {
        "format": _FORMAT,
        "engine": chosen.engine,
        "cpu": measured.kind(),
        "heads": heads,
        "whole": f"{whole.card.version} {whole.precision}" if whole else "",
        "photos": hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in shown)).hexdigest(),
    }


def labelling(chosen: Settings, model: str) -> Callable[[bytes], bytes]:
    """Labels a photo with the whole model on this device. Raises NotFound if it is not prepared here."""
    found = store.find(model, chosen.engine, chosen.cache_dir, precision=chosen.precision)
    loaded = engines.by_name(found.engine).load(found.model, found.folder, precision=found.precision)
    task = tasks.by_name(found.model.task)

    def label(photo: bytes) -> bytes:
        opened = task.decode(found.model, photo, chosen.max_pixels)
        task.read(found.model, loaded.infer(opened.tensor) if len(opened.tensor) else (), opened)
        return b""

    return label


def _bench(work: Callable[[bytes], bytes], photos: Sequence[bytes]) -> tuple[float, float]:
    """The median seconds of a photo, and the mean length of what `work` returns; each photo once at least."""
    work(photos[0])
    seconds, sizes = list[float](), list[int]()
    ends = time.perf_counter() + BENCH_SECONDS
    while len(seconds) < len(photos) or time.perf_counter() < ends:
        photo = photos[len(seconds) % len(photos)]
        began = time.perf_counter()
        sizes.append(len(work(photo)))
        seconds.append(time.perf_counter() - began)
    return median(seconds), fmean(sizes[: len(photos)])
