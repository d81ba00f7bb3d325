"""`python -m benchmarks.venues.sets [SET ...]`: seconds from one submission of a whole set to its last result.

SET: small, medium or big (296, 2,070 or 4,913 images, as `shoal compare --set` makes them); without one the first two.
One form with all images goes to `shoal serve`, then to the pool of a new `shoal up`, from nothing, boot included.
SHOAL_MODEL chooses the model: ssd_mobilenet_v2 is the one of the published comparison.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

from benchmarks.default import usual_system
from benchmarks.running.waiting import wait_for
from benchmarks.venues.local import served
from comparison.measurement import AS_IT_IS, Lane
from comparison.photos import SETS, PreparedPhotos, made_from
from inference.preparing.photos import fetch
from shoal.settings import load

SECONDS = 600.0
LOOK_SECONDS = 0.3


def main() -> None:
    """Measure the sets and print a line for each."""
    chosen = load()
    photos = fetch(chosen.cache_dir)
    print(f"{', '.join(chosen.served_models)}; one form for the whole set, seconds to the last result")
    for name in sys.argv[1:] or ["small", "medium"]:
        with tempfile.TemporaryDirectory(prefix="shoal-set-") as kept:
            folder = Path(kept)
            prepared = PreparedPhotos(folder)
            images = {}
            for photo in made_from(photos, SETS[name]):
                prepared.add(photo, [AS_IT_IS])
                images[photo.name] = prepared.lane_content(photo.name, Lane("", AS_IT_IS))
            with served(folder / "serve") as (port, _):
                local = _seconds(f"http://127.0.0.1:{port}", images)
            with usual_system() as system:
                pool = _seconds(system.address, images)
            print(f"{name}, {len(images):,} images: local {local:.1f} s, pool {pool:.1f} s", flush=True)


def _seconds(address: str, images: dict[str, bytes]) -> float:
    """From the first byte sent until all are labelled. Raises RuntimeError when an image has no label."""
    form = [("inputFile", (name, body, "image/jpeg")) for name, body in images.items()]
    began = time.monotonic()
    reply = requests.post(f"{address}/v1/batches", files=form, timeout=SECONDS)
    reply.raise_for_status()
    batch = f"{address}/v1/batches/{reply.json()['batch']}"

    def counted() -> dict[str, Any]:
        found: dict[str, Any] = requests.get(batch, timeout=SECONDS).json()
        return found

    wait_for(lambda: not counted()["queued"], SECONDS, "some images have no result", LOOK_SECONDS)
    seconds = time.monotonic() - began
    if counted()["failed"]:
        raise RuntimeError(f"{counted()['failed']} of {len(images)} images failed")
    return seconds


if __name__ == "__main__":
    main()
