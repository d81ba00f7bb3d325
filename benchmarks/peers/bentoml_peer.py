"""A peer of the venue `local`: BentoML. It runs in an environment of its own.

`bentoml serve benchmarks.peers.bentoml_peer:Labeller` serves it. `/one` takes a photo as the body; `/several` takes the
field `photos` of a form and puts photos of several requests together.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml  # type: ignore[import-not-found]

from benchmarks.peers import own_engine

WORKERS, THREADS = int(os.environ["PEER_WORKERS"]), int(os.environ["PEER_THREADS"])
BATCH = 8
SECONDS = 60


@bentoml.service(workers=WORKERS, threads=THREADS, traffic={"timeout": SECONDS})
class Labeller:
    """Labels photos."""

    def __init__(self) -> None:
        own_engine.recogniser()

    @bentoml.api(route="/one")  # type: ignore[untyped-decorator]
    def one(self, photo: bytes, /) -> list[tuple[str, float]]:
        """The labels of the photo in the body."""
        return own_engine.label([photo])[0]

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/several", batchable=True, max_batch_size=BATCH, max_latency_ms=SECONDS * 1000
    )
    def several(self, photos: list[Path]) -> list[list[tuple[str, float]]]:
        """The labels of each photo."""
        return own_engine.label([photo.read_bytes() for photo in photos])
