"""`python -m app_tier [FILE]`: the worker process of an instance.

With FILE it loads the image's models first, then waits for that file with its settings: app_tier/image/early.py.

Exits with 0 after it was told to leave (SIGTERM, drain mark, terminate message, notice of EC2) and has finished its
messages in progress; the boot files then end the instance. Any other exit is a fault, and cron starts it again.
"""

from __future__ import annotations

import gc
import logging
import secrets
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from app_tier.allocator import give_back_large_blocks
from app_tier.bucket_events import BucketEvents
from app_tier.drain import DrainWatch
from app_tier.image.early import ReadyModels, load, load_and_wait
from app_tier.register import Registration, seconds_alive, started_before
from app_tier.shards.lane import BulkLane
from app_tier.stall import StallWatch, end_stalled
from app_tier.suspects.open_photos import OpenPhotos
from app_tier.suspects.suspects import Suspects
from app_tier.terminate import TerminateWatch
from app_tier.worker import Worker
from inference import process
from shoal import logs, settings, traces
from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal, end_when_a_thread_dies
from shoal.ports import Cloud
from shoal.retry import patiently

log = logging.getLogger("app_tier")

METADATA_SECONDS = 60.0  # a machine that boots is a busy one
RETRY_SECONDS = 1.0


def main() -> int:
    """Run the worker; returns the exit status."""
    end_when_a_thread_dies()
    with StopSignal() as stop:
        try:
            return _run(stop)
        except ShoalError as error:
            log.error("%s", error)
            return 1


def _run(stop: StopSignal) -> int:
    gc.disable()  # until it is ready: collecting during the imports takes a tenth of the start and frees nothing
    give_back_large_blocks()
    process.without_converter()
    with ThreadPoolExecutor(1) as aside:
        early = _start_early(aside, stop)
        if stop.stopping:
            return 0
        chosen = settings.load()
        logs.configure(chosen.log_level)
        traces.configure(chosen.otlp_endpoint, "shoal-worker")
        # Importing boto3 and loading the model take about as long: do both at once.
        connecting = aside.submit(_connect, chosen)
        loaded = early if early and early.serves(chosen) else load(chosen)
        cloud = connecting.result()
    recogniser = loaded.recogniser
    with ExitStack() as around:
        name, identifier = _watch_instance(stop, around)
        suspects = Suspects(
            cloud.outputs, chosen.max_deliveries, OpenPhotos(chosen.run_dir and chosen.run_dir / "open-photos")
        )
        worker = Worker(
            cloud,
            recogniser,
            cloud.replies,
            name,
            stop,
            chosen.visibility_seconds,
            chosen.answer_cache,
            BucketEvents(chosen.in_bucket, chosen.intake_prefix, chosen.max_file_bytes),
            suspects,
        )
        lane = BulkLane(cloud, recogniser, suspects, lambda: worker.in_progress, stop, chosen.visibility_seconds)
        arithmetic = _arithmetic(recogniser) + (", measured by this worker" if loaded.again else "")
        engines = ", ".join(dict.fromkeys(map(recogniser.engine, recogniser.models)))
        log.info("%s ready: %s on %s in %s", name, ", ".join(recogniser.models), engines, arithmetic)
        gc.freeze()
        gc.enable()
        models = ", ".join(recogniser.models)
        register = Registration(
            cloud.register,
            identifier,
            worker,
            models,
            seconds_alive(),
            chosen.beat_seconds,
            stop,
            arithmetic,
            lambda: lane.in_work,
            lambda: lane.finished,
            started_before(chosen.run_dir),
        )
        around.enter_context(register)
        _watch_for_stalls(worker, lane, chosen.stall_seconds, around)
        if chosen.drain_by == "queue":
            around.enter_context(TerminateWatch(cloud.terminations, worker, stop, chosen.terminate_seconds))
        with lane:
            finished = worker.run()
    traces.close()
    log.info("%s leaves (%s): %d messages finished", name, stop.reason, finished)
    return 0


def _start_early(aside: ThreadPoolExecutor, stop: StopSignal) -> ReadyModels | None:
    """Load models before the settings of this instance are there, if it was asked to."""
    if len(sys.argv) < 2:
        return None
    logs.configure(settings.load().log_level)
    aside.submit(import_module, "shoal.aws")
    return load_and_wait(Path(sys.argv[1]), stop)


def _watch_for_stalls(worker: Worker, lane: BulkLane, seconds: float, around: ExitStack) -> None:
    """End this process when photos of people, or a shard, hang."""

    def end() -> None:
        end_stalled(seconds)

    def excused() -> bool:
        # A photo that is tried alone has a limit of its own.
        return worker.waits_for_store or worker.tries_alone

    around.enter_context(StallWatch(worker, seconds, end, excused))
    around.enter_context(StallWatch(lane.calls, seconds, end))


def _arithmetic(recogniser: process.Recogniser) -> str:
    """The arithmetic of the models, for people."""
    if len(recogniser.models) == 1:
        return recogniser.precisions[0]
    return ", ".join(f"{name} {one}" for name, one in zip(recogniser.models, recogniser.precisions, strict=True))


def _connect(chosen: settings.Settings) -> Cloud:
    from shoal.aws import connect  # here, so that its slow import runs beside the loading of the model

    return connect(chosen)


def _watch_instance(stop: StopSignal, around: ExitStack) -> tuple[str, str]:
    """Watch for the drain mark, if this is an instance; returns the worker's name and its id.

    Elsewhere it makes both up: other than those of every other worker.
    """
    from shoal.aws.ec2 import DRAIN_TAG
    from shoal.aws.metadata import instance_metadata

    metadata = instance_metadata()
    if metadata is None:
        # The digits: in containers every process is number 1, and some have the name of their host.
        return (f"worker-{socket.gethostname()}-{secrets.token_hex(3)}",) * 2

    def pause() -> bool:
        return stop.wait(RETRY_SECONDS)

    identifier = patiently(lambda: metadata.get("instance-id"), METADATA_SECONDS, pause)
    name = patiently(lambda: metadata.tag("Name"), METADATA_SECONDS, pause) or identifier
    around.enter_context(DrainWatch(lambda: metadata.tag(DRAIN_TAG), stop, metadata.notice))
    return name, identifier


if __name__ == "__main__":
    sys.exit(main())
