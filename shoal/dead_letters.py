"""What can be done with dead letters: request messages that no worker could finish."""

from __future__ import annotations

from shoal.ports import Cloud, Received


def look(cloud: Cloud) -> list[Received]:
    """All of them; they stay where they are. May raise Retryable."""
    letters: list[Received] = []
    while found := cloud.dead_letters.receive(10, 0):
        letters += found
    cloud.dead_letters.extend([letter.receipt for letter in letters], 0)
    return letters


def redrive(cloud: Cloud) -> int:
    """Send them to the request queue once more; returns how many. May raise Retryable: then the rest is still there."""
    count = 0
    while letters := cloud.dead_letters.receive(10, 0):
        cloud.requests.send([letter.body for letter in letters])
        cloud.dead_letters.delete([letter.receipt for letter in letters])
        count += len(letters)
    return count


def purge(cloud: Cloud) -> int:
    """Delete them; returns how many. May raise Retryable."""
    count = 0
    while letters := cloud.dead_letters.receive(10, 0):
        cloud.dead_letters.delete([letter.receipt for letter in letters])
        count += len(letters)
    return count
