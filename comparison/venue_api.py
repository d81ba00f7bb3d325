"""Sends a photo to a venue of a running Shoal, through its HTTP API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from comparison.link import ANSWER_BYTES, Link
from comparison.measurement import Lane, Measurement
from comparison.photos import unlike_any_other
from comparison.schedule import Stint
from shoal.accounts.bearer import bearer
from shoal.proxies import is_direct

TIMEOUT_SECONDS = 120
WAITING = ("queue", "wait")
INFERRING = ("decode", "infer")


@dataclass
class VenueApi:
    """Calls `POST /v1/label?venue=...` of the Shoal at `address` with one photo.

    pause: waits a number of seconds, for the emulated link. key: an API key, where people sign in.
    Many threads may call `measure`.
    """

    address: str
    link: Link
    pause: Callable[[float], object] = time.sleep
    key: str = field(default="", repr=False)
    _local: threading.local = field(default_factory=threading.local)

    def measure(self, stint: Stint, photo: str, content: bytes) -> Measurement:
        """Send one photo. What goes wrong is in the measurement."""
        body = unlike_any_other(content)
        began = time.perf_counter()
        self.pause(self.link.seconds(len(body)))
        try:
            result, error = self._call(stint.lane, photo, body)
        except requests.RequestException as failure:
            result, error = {}, f"no answer from {self.address} ({type(failure).__name__})"
        self.pause(self.link.seconds(ANSWER_BYTES))
        total = time.perf_counter() - began
        spent = result.get("seconds") or {}
        return Measurement(
            lane=stint.lane,
            photo=photo,
            round=stint.round,
            phase=stint.phase,
            total=total,
            wait=sum(spent.get(stage, 0.0) for stage in WAITING),
            inference=sum(spent.get(stage, 0.0) for stage in INFERRING),
            sent_bytes=len(body),
            label=str(result.get("label") or ""),
            error=error,
        )

    def venues(self) -> dict[str, int]:
        """Venue that may be named -> the most memory that a process of it has held at once, 0 where it is not known.

        Empty where the server does not tell.
        """
        try:
            found = self._session().get(f"{self.address}/venues.json", timeout=TIMEOUT_SECONDS).json()["venues"]
            return {str(one["name"]): int(one["peak_bytes"] or 0) for one in found}
        except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def peak_bytes(self) -> dict[str, int]:
        """Venue -> the most memory that a process of it has held at once; empty where this cannot be read."""
        return {name: most for name, most in self.venues().items() if most}

    def _call(self, lane: Lane, photo: str, body: bytes) -> tuple[dict[str, Any], str]:
        """The photo's result, and why there is no label."""
        reply = self._session().post(
            f"{self.address}/v1/label",
            params={"venue": lane.venue, "name": photo},
            data=body,
            headers={"Content-Type": "application/octet-stream"},
            timeout=TIMEOUT_SECONDS,
        )
        try:
            found: dict[str, Any] = reply.json()
            if reply.ok:
                return found, ""
            return {}, str(found.get("error") or found.get("detail") or found["title"])
        except (ValueError, KeyError, AttributeError):
            return {}, f"the answer is {reply.status_code}"

    def _session(self) -> requests.Session:
        """A session for each thread: connections stay open."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = not is_direct(self.address)
            if self.key:
                self._local.session.auth = bearer(self.key)
        session: requests.Session = self._local.session
        return session
