"""Whether store and queues answer and the store has space, within a time limit even when they do not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from shoal.errors import ShoalError
from shoal.ports import Cloud, ObjectStore

log = logging.getLogger(__name__)

OK = "ok"
NO_KEY = "-ready/"  # nothing has this prefix: the shortest listing


class Readiness:
    """Asks all at once. A check that has not answered yet is not started a second time.

    queues: whether there are queues to ask.
    space:  by the name of a bucket's check, what raises StorageFull while that bucket is full.
    """

    def __init__(self, cloud: Cloud, space: Mapping[str, Callable[[], None]], queues: bool = True) -> None:
        def bucket(name: str, store: ObjectStore) -> Check:
            return Check(name, lambda: (next(iter(store.list(NO_KEY)), None), space[name]()))

        self._checks = [
            bucket("input bucket", cloud.inputs),
            bucket("output bucket", cloud.outputs),
        ]
        if queues:
            self._checks += [
                Check("request queue", cloud.requests.depth),
                Check("response queue", cloud.responses.depth),
            ]

    def look(self, seconds: float) -> dict[str, str]:
        """Returns "ok" or the reason why not, by name; takes `seconds` at most."""
        deadline = time.monotonic() + seconds
        asked = [(one, one.ask()) for one in self._checks]
        return {one.name: answer.wait(deadline - time.monotonic()) for one, answer in asked}


class PendingCheck:
    """A running check and its outcome. before: what was wrong the last time."""

    def __init__(self, ask: Callable[[], object], before: str = "") -> None:
        self._began = time.monotonic()
        self._outcome = ""
        self._before = before
        # A daemon: a silent store blocks its caller for half a minute, and the process must be able to end.
        self._thread = threading.Thread(target=self._run, args=(ask,), name="ready", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether the outcome is known."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> str:
        """Returns "ok" or the reason why not, after `seconds` at most."""
        self._thread.join(max(0.0, seconds))
        before = f"; before: {self._before}" if self._before else ""
        return self._outcome or f"no answer for {time.monotonic() - self._began:.1f} s{before}"

    @property
    def wrong(self) -> str:
        """What is wrong; empty while the check runs and when nothing is wrong."""
        return "" if self._outcome == OK else self._outcome

    def _run(self, ask: Callable[[], object]) -> None:
        try:
            ask()
            self._outcome = OK
        except ShoalError as error:
            self._outcome = str(error)
        except Exception as error:
            log.exception("a check broke")
            self._outcome = f"the check broke: {type(error).__name__}"


class Check:
    """A named check that runs once at a time."""

    def __init__(self, name: str, ask: Callable[[], object]) -> None:
        self.name = name
        self._ask = ask
        self._answer: PendingCheck | None = None
        self._asking = threading.Lock()

    def ask(self) -> PendingCheck:
        """Start the check, or return the one that is still running."""
        with self._asking:
            if self._answer is None:
                self._answer = PendingCheck(self._ask)
            elif self._answer.over:
                # The last check may have ended while nobody waited for it.
                self._answer = PendingCheck(self._ask, self._answer.wrong)
            return self._answer
