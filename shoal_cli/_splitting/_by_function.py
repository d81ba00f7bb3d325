"""`shoal classify --venue split --tail lambda`: the head runs here, each activation is a call to Lambda."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from inference.photo_folders import readable
from shoal import photo_record
from shoal.errors import NotFound
from shoal.messages import Job, Result
from shoal.settings import Settings
from shoal_cli._splitting._device import Device, PackedPhotos, of_tails
from shoal_cli._splitting._tail_calls import TailCalls, TailRefused

AT_ONCE = 2  # calls; each that comes while others run starts the function once more


def tail_calls(chosen: Settings) -> tuple[TailCalls, tuple[str, ...], int]:
    """The function of this Shoal, the tails that it runs, and its memory in MB. Raises NotFound where there is none."""
    from shoal.aws import SignedCalls, find_tail_function

    found = find_tail_function(chosen)
    return TailCalls(found.name, SignedCalls(found)), found.tails, found.memory_mb


def function_device(chosen: Settings, model: str, cut: str, dtype: str, tails: tuple[str, ...]) -> Device:
    """The head of a tail that the function runs: `cut`, or the only one that is prepared here.

    Raises NotFound where the function does not run it, and what `Device.of` raises.
    """
    if not cut:
        known = [tail for tail in of_tails(chosen, tails) if tail.partition(".")[0] == (model or chosen.model)]
        cut = known[0].partition(".")[2] if len(known) == 1 else ""
    device = Device.of(chosen, "", model, cut, dtype)
    if device.tail not in tails:
        raise NotFound(
            f"the function runs {', '.join(tails)}, and not {device.tail}: name it in SHOAL_TAILS and run "
            "`shoal prepare --venue split`"
        )
    return device


def labelled(calls: TailCalls, packed: PackedPhotos) -> Iterator[dict[str, Any]]:
    """The record of each photo, in order; one that failed says why. Raises what ends all calls, see `TailCalls`."""

    def ask(file: Path) -> Result:
        try:
            return calls.label(file.read_bytes())
        except TailRefused as error:
            return Result.failed("-", str(error))

    threads = ThreadPoolExecutor(AT_ONCE)
    try:
        for index, (photo, result) in enumerate(zip(packed.photos, threads.map(ask, packed.files), strict=True)):
            yield photo_record.record(Job("", index, readable(photo.name), ""), result) | {"batch": None}
    finally:
        threads.shutdown(cancel_futures=True)
