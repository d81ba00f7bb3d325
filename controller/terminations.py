"""The classic way to ask workers to leave: a batch of terminate messages that whoever reads them first obeys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from shoal.errors import Retryable
from shoal.ports import Instance, InstancePool, JobQueue, Register

BODY = "terminate"
SLACK_SECONDS = 1.0  # between a message's end by the queue's clock and by ours: for the way there


class AskByQueue:
    """An InstancePool that asks by messages instead of marks. Nobody can say which workers will obey.

    So it asks for no more at a time than shall leave: messages that are still valid count as asked, and a worker that
    obeyed tells so in its beats, which shows it here as one that was asked.
    valid_seconds: how long a message is good for.
    """

    def __init__(
        self,
        pool: InstancePool,
        terminations: JobQueue,
        register: Register,
        valid_seconds: float,
        now: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._terminations = terminations
        self._register = register
        self._valid_seconds = valid_seconds
        self._now = now
        self._steady = steady
        self._sent: list[tuple[float, int]] = []  # when by the steady clock, and how many messages
        self._leaving: dict[str, float] = {}  # since when, by instance

    def describe(self) -> list[Instance]:
        instances = self._pool.describe()
        told = {worker for worker, beat in self._register.workers().items() if beat.leaving}
        known = {one.id for one in instances}
        self._leaving = {
            one: self._leaving.get(one, self._now()) for one in (told | self._leaving.keys()) if one in known
        }
        return [
            replace(one, drain_since=one.drain_since or self._leaving[one.id]) if one.id in self._leaving else one
            for one in instances
        ]

    def drain(self, ids: Sequence[str]) -> None:
        """Ask for as many as `ids` are. Raises Retryable while as many were asked and may still obey."""
        if not ids:
            return
        now = self._steady()
        self._sent = [(at, count) for at, count in self._sent if now - at < self._valid_seconds + SLACK_SECONDS]
        missing = len(ids) - sum(count for _, count in self._sent)
        if missing <= 0:
            raise Retryable("terminate messages are out already, and no worker has read them yet")
        self._terminations.send([BODY] * missing)
        self._sent.append((now, missing))

    def token(self, count: int) -> str:
        return self._pool.token(count)

    def launch(self, names: Sequence[str], token: str) -> list[Instance]:
        return self._pool.launch(names, token)

    def terminate(self, ids: Sequence[str]) -> None:
        self._pool.terminate(ids)
