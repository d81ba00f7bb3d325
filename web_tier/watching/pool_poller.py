"""Reads the backlog and the pool once a second while a page is open, in one thread."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import replace

from shoal.logs import WarnOnce
from shoal.ports import Cloud, Instance
from web_tier.results.hub import Hub, PoolState
from web_tier.watching.history import History
from web_tier.watching.shared_reading import SharedReading

log = logging.getLogger(__name__)

READ_SECONDS = 1.0


class PoolPoller:
    """Reads the pool for all pages: a thousand open pages cost the cloud as much as one."""

    def __init__(self, cloud: Cloud, hub: Hub, past: History) -> None:
        self._cloud = cloud
        self._hub = hub
        self._past = past
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pool-poller", daemon=True)
        self._reading = SharedReading(self._look, READ_SECONDS * 0.9)
        self._faults = WarnOnce(log)

    def start(self) -> None:
        """Start the thread; it reads while a page is open."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stop.set()

    def read(self) -> PoolState | None:
        """The state now, at most a second old; None when the cloud does not answer."""
        return self._reading.read()

    def _look(self) -> PoolState | None:
        try:
            state = replace(pool_state(self._cloud), hindrance=self._hindrance())
        except Exception as error:
            self._faults.warn("cannot read the pool: %s", error)
            return None
        self._faults.clear()
        return state

    def _hindrance(self) -> str:
        moments = self._past.read()
        return moments[-1].hindrance if moments else ""

    def _run(self) -> None:
        self._look()  # boto3 loads EC2's large model at the first call: not while a visitor waits
        while not self._stop.is_set():
            if not self._hub.wait_for_watcher(5.0):
                continue
            state = self.read()
            if state is not None:
                self._hub.publish_pool(state)
            self._stop.wait(READ_SECONDS)


def pool_state(cloud: Cloud) -> PoolState:
    """One reading of the request queue and the instances. May raise Retryable."""
    depth = cloud.requests.depth()
    count = Counter(_phase(one) for one in cloud.pool.describe())
    return PoolState(
        depth.visible + depth.delayed, depth.in_flight, count["pending"], count["running"], count["draining"]
    )


def _phase(one: Instance) -> str:
    return "draining" if one.drain_since is not None and one.state in ("pending", "running") else one.state
