"""`python -m app_tier.suspects MODEL`: labels the photo on its standard input and writes its result.

The photo may be one at which engines hang or take all memory. So this process ends at its limits, and is the first that
the kernel ends when memory is short. It writes a line before it opens the photo: an earlier end is not its fault.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

from app_tier.suspects.alone import OPENS
from inference import process
from shoal import logs, settings
from shoal.messages import Job, new_batch

START_SECONDS = 300.0
MEMORY_SHARE = 0.75  # of the machine's


def main() -> None:
    """Label one photo. Its result has a key that stands for nothing."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes to the log
    for ask in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ask, signal.SIG_IGN)  # they ask the whole group to leave: the worker waits for this photo
    _end_after(START_SECONDS)
    _limit_memory()
    chosen = settings.load()
    logs.configure(chosen.log_level)
    process.without_converter()
    recogniser = process.load_as_set(chosen)
    job = Job(new_batch(0), 0, "photo", "", sys.argv[1])
    recogniser.warm_up(job.model)
    photo = sys.stdin.buffer.read()
    answers.write(OPENS)
    answers.flush()
    _end_after(chosen.stall_seconds)
    answers.write(process.process(recogniser, job, photo).to_json().encode())
    answers.close()


def _end_after(seconds: float) -> None:
    """End this process when this much time has passed, even if all its threads hang, and log where they are."""
    faulthandler.dump_traceback_later(seconds, exit=True)


def _limit_memory() -> None:
    most = int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # the limit that holds already is a lower one
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    faulthandler.enable()
    main()
