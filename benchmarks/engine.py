"""What the engine reaches without a worker around it: the limit that a worker is held against."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from inference.answer import Decoded
from inference.process import Recogniser

DECODE_THREADS = 4  # the worker's
CALLERS = 2  # the worker's


def infer(recogniser: Recogniser, payloads: Sequence[bytes]) -> float:
    """Images a second of inference alone, on images that are decoded already."""
    decoded = [recogniser.decode("", payload) for payload in payloads]
    began = time.perf_counter()
    _infer_all(recogniser, decoded)
    return len(decoded) / (time.perf_counter() - began)


def decode_and_infer(recogniser: Recogniser, payloads: Sequence[bytes]) -> float:
    """Images a second of decoding on threads and inference behind it: what a worker could reach."""
    began = time.perf_counter()
    with ThreadPoolExecutor(DECODE_THREADS) as decoders:
        _infer_all(recogniser, decoders.map(lambda payload: recogniser.decode("", payload), payloads))
    return len(payloads) / (time.perf_counter() - began)


def _infer_all(recogniser: Recogniser, decoded: Iterable[Decoded]) -> None:
    """In batches as large as the engine likes them, each handed over as soon as it is full."""
    rest = iter(decoded)
    with ThreadPoolExecutor(CALLERS) as callers:
        running = []
        while batch := list(islice(rest, recogniser.batch(""))):
            running.append(callers.submit(recogniser.infer, "", batch))
        for one in running:
            one.result()
