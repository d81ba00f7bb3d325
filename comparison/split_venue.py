"""Sends what a photo becomes on the device to the tail of a cut net: the head is run here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from comparison.measurement import Measurement
from comparison.schedule import Stint
from comparison.venue_api import VenueApi
from shoal.errors import ShoalError

NAME = "split"
IN_LAMBDA = ", lambda"  # behind the name of a cut whose tail a Lambda function runs


@dataclass(frozen=True)
class CutDoor:
    """Measures one cut. tail: its name at the Shoal of `api`.

    pack: runs the head on a photo's bytes and packs the activation, as bytes that nobody has sent before. It may raise
    ShoalError. Many threads may call `measure` if they may call `pack`.
    """

    api: VenueApi
    tail: str
    pack: Callable[[bytes], bytes]

    def measure(self, stint: Stint, photo: str, content: bytes) -> Measurement:
        """Send one activation. What goes wrong is in the measurement. Its inference is that of head and tail."""
        began = time.perf_counter()
        try:
            body = self.pack(content)
        except ShoalError as error:
            return Measurement(stint.lane, photo, stint.round, stint.phase, 0.0, error=str(error))
        here = time.perf_counter() - began
        found = self.api.send(stint, photo, body, {"venue": NAME, "model": self.tail})
        return replace(found, total=here + found.total, inference=here + found.inference, device=here)
