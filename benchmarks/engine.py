"""The throughput of the engine without a worker: the limit for a worker."""

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
    """Images/s of inference alone, on decoded images."""
    decoded = [recogniser.decode("", payload) for payload in payloads]
    began = time.perf_counter()
    _infer_all(recogniser, decoded)
    return len(decoded) / (time.perf_counter() - began)


def decode_and_infer(recogniser: Recogniser, payloads: Sequence[bytes]) -> float:
    """Images/s of decoding on threads followed by inference: the most that a worker can reach."""
    began = time.perf_counter()
    with ThreadPoolExecutor(DECODE_THREADS) as decoders:
        _infer_all(recogniser, decoders.map(lambda payload: recogniser.decode("", payload), payloads))
    return len(payloads) / (time.perf_counter() - began)


def _infer_all(recogniser: Recogniser, decoded: Iterable[Decoded]) -> None:
    """Infer in batches of the engine's size, each as soon as it is full."""
    rest = iter(decoded)
    with ThreadPoolExecutor(CALLERS) as callers:
        running = []
        while batch := list(islice(rest, recogniser.batch(""))):
            running.append(callers.submit(recogniser.infer, "", batch))
        for one in running:
            one.result()
