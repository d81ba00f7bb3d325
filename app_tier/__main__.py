"""`python -m app_tier`: the worker process of an instance.

Leaves with 0 after it was told to (SIGTERM, drain mark) and has finished what it held; the boot files then end the
instance. Anything else is a fault, and cron starts it again.
"""

from __future__ import annotations

import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from app_tier.drain import DrainWatch
from app_tier.worker import Worker
from inference import process
from shoal import logs, settings
from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal
from shoal.ports import Cloud

log = logging.getLogger("app_tier")


def main() -> int:
    """Run the worker; returns the exit status."""
    with StopSignal() as stop:
        try:
            return _run(stop)
        except ShoalError as error:
            log.error("%s", error)
            return 1


def _run(stop: StopSignal) -> int:
    chosen = settings.load()
    logs.configure(chosen.log_level)
    # Importing boto3 and loading the model take about as long: do both at once.
    with ThreadPoolExecutor(1) as aside:
        connecting = aside.submit(_connect, chosen)
        recogniser = process.load(
            chosen.model,
            chosen.engine,
            chosen.cache_dir,
            chosen.model_weights,
            max_pixels=chosen.max_pixels,
            max_bytes=chosen.max_file_bytes,
        )
        cloud = connecting.result()
    with ExitStack() as around:
        name = _watch_instance(stop, around)
        replies = {chosen.resp_queue: cloud.responses}
        worker = Worker(cloud, recogniser, replies, name, stop, chosen.visibility_seconds)
        log.info("%s ready: %s on %s", name, recogniser.model, recogniser.engine)
        finished = worker.run()
    log.info("%s leaves (%s): %d messages finished", name, stop.reason, finished)
    return 0


def _connect(chosen: settings.Settings) -> Cloud:
    from shoal.aws import connect  # here, so that its slow import runs beside the loading of the model

    return connect(chosen)


def _watch_instance(stop: StopSignal, around: ExitStack) -> str:
    """Watch for the drain mark where there is an instance to ask; returns the worker's name."""
    from shoal.aws.ec2 import DRAIN_TAG
    from shoal.aws.metadata import instance_metadata

    metadata = instance_metadata()
    if metadata is None:
        return f"worker-{os.getpid()}"
    around.enter_context(DrainWatch(lambda: metadata.tag(DRAIN_TAG), stop))
    return metadata.tag("Name") or metadata.get("instance-id")


if __name__ == "__main__":
    sys.exit(main())
