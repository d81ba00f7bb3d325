"""Labels a photo in a process of its own, which may end at it without harm to others. See __main__ for that process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

from shoal.errors import MalformedMessage, Permanent, Retryable
from shoal.messages import Job, Result

OPENS = b"opens the photo\n"  # what the process writes before its result


class Broken(Permanent):
    """A decoder or an engine broke at a photo, or the process that tried the photo alone ended."""


def try_alone(job: Job, photo: bytes) -> Result:
    """The result of the photo. Raises Broken, or Retryable if the process ended before it opened the photo."""
    command = [sys.executable, "-m", "app_tier.suspects", job.model]
    try:
        ended = subprocess.run(command, input=photo, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise Retryable(f"no process could be started to try {job.key} alone: {error}") from error
    if not ended.stdout.startswith(OPENS):
        raise Retryable(f"the process to try {job.key} alone ended at its start, with status {ended.returncode}")
    try:
        result = Result.from_json(ended.stdout.removeprefix(OPENS))
    except MalformedMessage:
        raise Broken(f"{job.key} ended the process that tried it alone, with status {ended.returncode}") from None
    return replace(result, key=job.key)
