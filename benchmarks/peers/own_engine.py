"""The engine as a peer's process has it: our decoder, model file and arithmetic, and nothing else of ours."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from inference import process
from inference.answer import Decoded
from inference.process import Recogniser
from shoal import settings

ENGINE_THREADS = "PEER_ENGINE_THREADS"  # 0 leaves their number to the engine
DECODERS = 2

_lock = threading.Lock()
_loaded: list[Recogniser] = []
_decoders = ThreadPoolExecutor(DECODERS)


def load() -> Recogniser:
    """A recogniser with as many threads as the peer's set-up says."""
    return process.load_as_set(settings.load(), int(os.environ[ENGINE_THREADS]) or None)


def recogniser() -> Recogniser:
    """The one of this process, loaded at the first call."""
    with _lock:
        if not _loaded:
            _loaded.append(load())
        return _loaded[0]


def label(payloads: Sequence[bytes]) -> list[list[tuple[str, float]]]:
    """The labels of photos that a server has put together. Several are decoded at the same time."""
    ours = recogniser()
    decoded = [ours.decode("", payloads[0])] if len(payloads) == 1 else list(_decoders.map(_decode, payloads))
    return [[(one.name, float(one.probability)) for one in answer.labels] for answer in ours.infer("", decoded)]


def _decode(payload: bytes) -> Decoded:
    return recogniser().decode("", payload)
