"""The application that uvicorn serves: the guard, then ministack."""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_cloud import kept_queues, points
from local_cloud.checkpoint import Checkpoint
from local_cloud.exchange import App
from local_cloud.guard.addresses import check_address
from local_cloud.guard.callers import Callers
from local_cloud.guard.gate import Gate
from local_cloud.guard.keys import CloudKeys
from local_cloud.guard.permissions import Permissions
from local_cloud.guard.policies import PolicyFile
from local_cloud.guard.sessions import SessionKeys
from local_cloud.guard.used_permissions import UsedPermissions
from local_cloud.hostile import HONEST
from local_cloud.hostile.dice import Dice, Hostility
from local_cloud.hostile.journal import FaultJournal
from local_cloud.hostile.objects import HostileObjects
from local_cloud.hostile.queues import HostileQueues
from local_cloud.kept_objects import KeptObjects

HOSTILITY = "LOCAL_CLOUD_HOSTILITY"
JOURNAL = "LOCAL_CLOUD_JOURNAL"
POLICIES = "LOCAL_CLOUD_POLICIES"


def _layers() -> App:
    points.check(points.MINISTACK)
    from local_cloud import function_urls, functions
    from local_cloud.guard.forms import form_fields
    from local_cloud.guard.services_guard import ServicesGuard, trust_the_guard
    from local_cloud.guard.services_needs import ServicesNeeds

    trust_the_guard()
    keys = CloudKeys.take()
    sessions = SessionKeys(keys.session_secret, time.time)
    functions.hook(sessions)
    function_urls.hook()
    callers = Callers(keys, sessions, frozenset({HONEST}))
    region = os.environ["MINISTACK_REGION"]
    policies = Path(os.environ[POLICIES])
    used = UsedPermissions(policies.with_name("used-by-roles-ministack.jsonl"))
    permissions = Permissions(PolicyFile(policies), ServicesNeeds(region), region, used)
    gate = Gate(
        callers, permissions, form_fields, check_address=lambda service: check_address(service, of_ministack=True)
    )
    return ServicesGuard(_services(), gate)


def _services() -> App:
    """ministack with checkpoints, and with faults in hostile mode."""
    from ministack import app as ministack
    from ministack.core import persistence

    kept_queues.hook()

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
