"""Dead letters, the request messages that no worker could finish: look, send again, delete."""

from __future__ import annotations

from shoal.errors import MalformedMessage
from shoal.messages import Job
from shoal.ports import Cloud, Received


def look(cloud: Cloud) -> list[Received]:
    """Return all dead letters and leave them in their queue. May raise Retryable."""
    letters: list[Received] = []
    while found := cloud.dead_letters.receive(10, 0):
        letters += found
    cloud.dead_letters.extend([letter.receipt for letter in letters], 0)
    return letters


def redrive(cloud: Cloud) -> int:
    """Send the dead letters to the request queue again. Returns their number. What is no job stays where it is.

    May raise Retryable; the dead letters that were not sent are then still in their queue.
    """
    count, left = 0, []
    while letters := cloud.dead_letters.receive(10, 0):
        jobs = [letter for letter in letters if _is_job(letter)]
        left += [letter.receipt for letter in letters if letter not in jobs]
        cloud.requests.send([letter.body for letter in jobs])
        cloud.dead_letters.delete([letter.receipt for letter in jobs])
        count += len(jobs)
    cloud.dead_letters.extend(left, 0)
    return count


def _is_job(letter: Received) -> bool:
    try:
        Job.from_json(letter.body)
    except MalformedMessage:
        return False
    return True


def purge(cloud: Cloud) -> int:
    """Delete the dead letters. Returns their number. May raise Retryable."""
    count = 0
    while letters := cloud.dead_letters.receive(10, 0):
        cloud.dead_letters.delete([letter.receipt for letter in letters])
        count += len(letters)
    return count
