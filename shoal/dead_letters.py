"""Dead letters, the request messages that no worker could finish: look, send again, delete."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from shoal.buckets import suspects
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


def cause(cloud: Cloud, letter: Received) -> str:
    """Why a letter is dead, in words. May raise Retryable."""
    times = suspects.times(cloud.outputs, key_of(letter))
    if times:
        return f"it ended a worker or broke its engine {times} times"
    return "each worker gave it back, or ended without a word: see the workers' logs for its key"


def key_of(letter: Received) -> str:
    """The key of its photo; "" for a message that is no job."""
    try:
        return Job.from_json(letter.body).key
    except MalformedMessage:
        return ""


def redrive(cloud: Cloud, keys: Collection[str] | None = None) -> int:
    """Send the dead letters to the request queue again. Returns their number. What is no job stays where it is.

    keys: only those of these photos; all when None.
    May raise Retryable; the dead letters that were not sent are then still in their queue.
    """

    def send(letters: Sequence[Received]) -> None:
        cloud.requests.send([letter.body for letter in letters])
        cloud.dead_letters.delete([letter.receipt for letter in letters])

    return _handle(cloud, lambda key: key != "" and (keys is None or key in keys), send)


def purge(cloud: Cloud, keys: Collection[str] | None = None) -> int:
    """Delete the dead letters. Returns their number. keys: only those of these photos; all when None.

    May raise Retryable.
    """

    def delete(letters: Sequence[Received]) -> None:
        cloud.dead_letters.delete([letter.receipt for letter in letters])

    return _handle(cloud, lambda key: keys is None or key in keys, delete)


def _handle(cloud: Cloud, wanted: Callable[[str], bool], handle: Callable[[Sequence[Received]], None]) -> int:
    """Handle the letters whose keys are wanted, and leave the others in their queue."""
    count, left = 0, []
    while letters := cloud.dead_letters.receive(10, 0):
        some = [letter for letter in letters if wanted(key_of(letter))]
        left += [letter.receipt for letter in letters if letter not in some]
        handle(some)
        count += len(some)
    cloud.dead_letters.extend(left, 0)
    return count
