"""Asks workers to leave the classic way: terminate messages, which the workers that read them first obey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from shoal.errors import Retryable
from shoal.ports import Instance, InstancePool, JobQueue, Register

BODY = "terminate"
SLACK_SECONDS = 1.0  # a message ends later by the queue's clock than by ours: it takes time to send


class AskByQueue:
    """An InstancePool that drains by messages instead of marks. Nobody knows which workers will obey.

    Messages that are still valid count as workers that were asked, so it never asks more than it has to. A worker that
    obeyed says in its beats that it leaves; `describe` then shows it as draining.
    valid_seconds: how long a message is valid.
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
        """Ask as many workers as there are `ids`. Raises Retryable while as many were asked and may still obey."""
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
