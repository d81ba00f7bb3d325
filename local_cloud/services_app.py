"""The application that hypercorn serves: ministack with checkpoints, and with faults in hostile mode."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_cloud import points
from local_cloud.checkpoint import Checkpoint
from local_cloud.hostile.dice import Dice, Hostility
from local_cloud.hostile.exchange import App
from local_cloud.hostile.journal import FaultJournal
from local_cloud.hostile.objects import HostileObjects
from local_cloud.hostile.queues import HostileQueues
from local_cloud.kept_objects import KeptObjects

HOSTILITY = "LOCAL_CLOUD_HOSTILITY"
JOURNAL = "LOCAL_CLOUD_JOURNAL"


def _layers() -> App:
    points.check(points.MINISTACK)
    from ministack import app as ministack
    from ministack.core import persistence

    def save() -> None:
        with _raising(persistence.logger):
            persistence.save_all(ministack._build_persistence_save_dict())

    kept: App = Checkpoint(KeptObjects(ministack.app), save)
    asked = os.environ.get(HOSTILITY)
    if asked is None:
        return kept
    dice, journal = Dice(Hostility.from_dict(json.loads(asked))), FaultJournal(Path(os.environ[JOURNAL]))
    return HostileQueues(HostileObjects(kept, dice, journal), dice, journal)


@contextmanager
def _raising(logger: logging.Logger) -> Iterator[None]:
    """Raise OSError at the end when an error was logged: ministack logs what it cannot write, and goes on."""
    errors: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if errors:
        raise OSError("; ".join(errors))


app = _layers()
