"""What the engine reaches without a worker around it: the limit that a worker is held against."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from inference.process import Recogniser

BATCH = 8  # the worker's
DECODE_THREADS = 4  # the worker's


def infer(recogniser: Recogniser, payloads: Sequence[bytes]) -> float:
    """Images a second of inference alone, on images that are decoded already."""
    decoded = [recogniser.decode("", payload) for payload in payloads]
    began = time.perf_counter()
    for start in range(0, len(decoded), BATCH):
        recogniser.infer("", decoded[start : start + BATCH])
    return len(decoded) / (time.perf_counter() - began)


def decode_and_infer(recogniser: Recogniser, payloads: Sequence[bytes]) -> float:
    """Images a second of decoding on threads and inference behind it: what a worker could reach."""
    began = time.perf_counter()
    with ThreadPoolExecutor(DECODE_THREADS) as decoders:
        batch = []
        for decoded in decoders.map(lambda payload: recogniser.decode("", payload), payloads):
            batch.append(decoded)
            if len(batch) == BATCH:
                recogniser.infer("", batch)
                batch = []
        recogniser.infer("", batch)
    return len(payloads) / (time.perf_counter() - began)
