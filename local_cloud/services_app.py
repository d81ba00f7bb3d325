"""The application that hypercorn serves: ministack with checkpoints, and with faults in hostile mode."""

import json
import os
from pathlib import Path

from local_cloud import points
from local_cloud.checkpoint import Checkpoint
from local_cloud.hostile.dice import Dice, Hostility
from local_cloud.hostile.exchange import App
from local_cloud.hostile.journal import FaultJournal
from local_cloud.hostile.objects import HostileObjects
from local_cloud.hostile.queues import HostileQueues

HOSTILITY = "LOCAL_CLOUD_HOSTILITY"
JOURNAL = "LOCAL_CLOUD_JOURNAL"


def _layers() -> App:
    points.check(points.MINISTACK)
    from ministack import app as ministack
    from ministack.core.persistence import save_all

    kept: App = Checkpoint(ministack.app, lambda: save_all(ministack._build_persistence_save_dict()))
    asked = os.environ.get(HOSTILITY)
    if asked is None:
        return kept
    dice, journal = Dice(Hostility.from_dict(json.loads(asked))), FaultJournal(Path(os.environ[JOURNAL]))
    return HostileQueues(HostileObjects(kept, dice, journal), dice, journal)


app = _layers()
