"""Dead letters, the request messages that no worker could finish: look, send again, delete.

They wait in the dead-letter queue until the controller's sweeper answers their photos as failed; it then keeps them in
the output bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from shoal.buckets import failures, suspects
from shoal.buckets.failures import Buried, Failure
from shoal.errors import MalformedMessage, NotFound
from shoal.messages import Job, Result
from shoal.ports import Cloud, Received


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them.

    key:        of its photo; "" for a message that is no job.
    cause:      why it is dead, in words.
    deliveries: how often it was delivered.
    answered:   whether its photo was answered as failed.
    """

    key: str
    body: str
    cause: str
    deliveries: int
    answered: bool


def look(cloud: Cloud, most: int | None = None) -> list[DeadLetter]:
    """Return the dead letters, those that wait before those that were answered. Changes nothing. May raise Retryable.

    most: how many at most; all when None.
    """
    letters: list[Received] = []
    while (most is None or len(letters) < most) and (found := cloud.dead_letters.receive(10, 0)):
        letters += found
    cloud.dead_letters.extend([letter.receipt for letter in letters], 0)
    waiting = [_waiting(cloud, letter) for letter in letters[:most]]
    keys = failures.buried_keys(cloud.outputs, None if most is None else most - len(waiting))
    return waiting + [_answered(cloud, key) for key in keys]


def key_of(body: str) -> str:
    """The key of a message's photo; "" for a message that is no job."""
    try:
        return Job.from_json(body).key
    except MalformedMessage:
        return ""


def redrive(cloud: Cloud, keys: Collection[str] | None = None) -> int:
    """Send the dead letters to the request queue again. Returns their number. What is no job stays where it is.

    keys: only those of these photos; all when None.
    May raise Retryable; the dead letters that were not sent are then still where they were.
    """

    def send(letters: Sequence[Received]) -> None:
        cloud.requests.send([letter.body for letter in letters])
        cloud.dead_letters.delete([letter.receipt for letter in letters])

    sent = _handle(cloud, lambda key: key != "" and (keys is None or key in keys), send)
    return sent + sum(_send_buried(cloud, key) for key in _buried(cloud, keys))


def purge(cloud: Cloud, keys: Collection[str] | None = None) -> int:
    """Delete the dead letters. Returns their number. keys: only those of these photos; all when None.

    May raise Retryable.
    """

    def delete(letters: Sequence[Received]) -> None:
        cloud.dead_letters.delete([letter.receipt for letter in letters])

    deleted = _handle(cloud, lambda key: keys is None or key in keys, delete)
    buried = _buried(cloud, keys)
    for key in buried:
        failures.dig_up(cloud.outputs, key)
    return deleted + len(buried)


def _waiting(cloud: Cloud, letter: Received) -> DeadLetter:
    try:
        key = Job.from_json(letter.body).key
    except MalformedMessage as error:
        return DeadLetter("", letter.body, str(error), letter.deliveries, answered=False)
    cause = _cause(cloud, key, failures.last(cloud.outputs, key))
    return DeadLetter(key, letter.body, cause, letter.deliveries, answered=False)


def _answered(cloud: Cloud, key: str) -> DeadLetter:
    found = failures.buried(cloud.outputs, key) or Buried(key, "", 0, None)
    return DeadLetter(key, found.body, _cause(cloud, key, found.failure), found.deliveries, answered=True)


def _cause(cloud: Cloud, key: str, failure: Failure | None) -> str:
    """Why a letter is dead, in words: on one line, and nothing in it that a terminal obeys."""
    times = suspects.times(cloud.outputs, key)
    told = [f"it ended a worker or broke its engine {times} times"] if times else []
    if failure:
        at = f"{datetime.fromtimestamp(failure.at, UTC):%Y-%m-%d %H:%M:%S} UTC"
        told.append(f"{failure.error} (delivery {failure.deliveries}, {at}, {failure.worker})")
    told = told or ["each worker that had it ended without a word: see the workers' logs for its key"]
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in "; ".join(told))


def _buried(cloud: Cloud, keys: Collection[str] | None) -> list[str]:
    return [key for key in failures.buried_keys(cloud.outputs) if keys is None or key in keys]


def _send_buried(cloud: Cloud, key: str) -> bool:
    """Send a buried message again, unless its photo has got another answer meanwhile. Returns whether it was sent."""
    found = failures.buried(cloud.outputs, key)
    due = found is not None and key_of(found.body) == key and not _is_answered(cloud, key)
    if found is not None and due:
        # In this order: of a photo with neither a result nor a message, the sweeper makes a new message.
        cloud.outputs.delete(key)
        cloud.requests.send([found.body])
    failures.dig_up(cloud.outputs, key)
    return due


def _is_answered(cloud: Cloud, key: str) -> bool:
    """Whether somebody has labelled or cancelled a photo."""
    try:
        result = Result.from_json(cloud.outputs.get(key).decode(errors="replace"))
    except (NotFound, MalformedMessage):
        return False
    return result.status == "done" or result.is_cancelled


def _handle(cloud: Cloud, wanted: Callable[[str], bool], handle: Callable[[Sequence[Received]], None]) -> int:
    """Handle the letters whose keys are wanted, and leave the others in their queue."""
    count, left = 0, []
    while letters := cloud.dead_letters.receive(10, 0):
        some = [letter for letter in letters if wanted(key_of(letter.body))]
        left += [letter.receipt for letter in letters if letter not in some]
        handle(some)
        count += len(some)
    cloud.dead_letters.extend(left, 0)
    return count
