"""An engine for workers on instances: the first worker's receiving thread hangs after its first message."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from app_tier.in_progress import Delivery
from app_tier.worker import Worker
from benchmarks.running.stub_engine import StubEngine

NAME = "tests.hanging_receiver:ENGINE"


def _is_first() -> bool:
    """Whether no other worker of this embedded cloud was started before."""
    try:
        (Path(os.environ["LOCAL_CLOUD_STATE"]) / "first-worker").touch(exist_ok=False)
    except (KeyError, FileExistsError):
        return False
    return True


_receive = Worker._receive


def _receive_once(self: Worker) -> list[Delivery]:
    if self.received:
        threading.Event().wait()
    return _receive(self)


if _is_first():
    Worker._receive = _receive_once  # type: ignore[method-assign]

ENGINE = StubEngine()
