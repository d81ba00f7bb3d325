"""Sends a photo to a venue of a running Shoal, through its HTTP API."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from comparison.link import ANSWER_BYTES, Link
from comparison.measurement import Measurement
from comparison.photos import unlike_any_other
from comparison.schedule import Stint
from shoal.accounts.bearer import bearer
from shoal.proxies import is_direct

TIMEOUT_SECONDS = 120
NO_MODEL = "none.at-all"  # no model is called so: a dot stands in names of tails only, and no cut has this name
WAITING = ("queue", "wait")
INFERRING = ("decode", "infer")


@dataclass
class VenueApi:
    """Calls `POST /v1/label?venue=...` of the Shoal at `address` with one photo.

    pause: waits a number of seconds, for the emulated link. key: an API key, where people sign in. model: that photos
    are labelled with; the server's default when it is empty.
    Many threads may call `measure`.
    """

    address: str
    link: Link
    pause: Callable[[float], object] = time.sleep
    key: str = field(default="", repr=False)
    model: str = ""
    _local: threading.local = field(default_factory=threading.local)

    def measure(self, stint: Stint, photo: str, content: bytes) -> Measurement:
        """Send one photo. What goes wrong is in the measurement."""
        query = {"venue": stint.lane.venue} | ({"model": self.model} if self.model else {})
        return self.send(stint, photo, unlike_any_other(content), query)

    def send(self, stint: Stint, photo: str, body: bytes, query: Mapping[str, str]) -> Measurement:
        """Send these bytes with this query. What goes wrong is in the measurement."""
        began = time.perf_counter()
        self.pause(self.link.seconds(len(body)))
        try:
            result, error = self._call(photo, body, query)
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
            return {str(one["name"]): int(one["peak_bytes"] or 0) for one in self._told()["venues"]}
        except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def peak_bytes(self) -> dict[str, int]:
        """Venue -> the most memory that a process of it has held at once; empty where this cannot be read."""
        return {name: most for name, most in self.venues().items() if most}

    def transfer_seconds(self, size: int) -> float:
        """How long the endpoint takes to receive `size` bytes and to answer, which refuses them: nothing is stored.

        Raises what requests raises.
        """
        began = time.perf_counter()
        self.pause(self.link.seconds(size))
        self._post({"model": NO_MODEL}, secrets.token_bytes(size))
        self.pause(self.link.seconds(ANSWER_BYTES))
        return time.perf_counter() - began

    def tails(self) -> list[str]:
        """The tails that activations may be sent to; empty where the server does not tell."""
        try:
            return list(map(str, self._told()["tails"]))
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return []

    def browser_bytes(self) -> int:
        """What a browser fetches before it labels by itself; 0 where that is not prepared, or not told."""
        try:
            return int(self._told()["browser_bytes"])
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return 0

    @property
    def headers(self) -> dict[str, str]:
        """What a program that is no client of its own has to send along."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def _told(self) -> Any:
        return self._session().get(f"{self.address}/venues.json", timeout=TIMEOUT_SECONDS).json()

    def _call(self, photo: str, body: bytes, query: Mapping[str, str]) -> tuple[dict[str, Any], str]:
        """The photo's result, and why there is no label."""
        reply = self._post({**query, "name": photo}, body)
        try:
            found: dict[str, Any] = reply.json()
            if reply.ok:
                return found, ""
            return {}, str(found.get("error") or found.get("detail") or found["title"])
        except (ValueError, KeyError, AttributeError):
            return {}, f"the answer is {reply.status_code}"

    def _post(self, query: Mapping[str, str], body: bytes) -> requests.Response:
        return self._session().post(
            f"{self.address}/v1/label",
            params=query,
            data=body,
            headers={"Content-Type": "application/octet-stream"},
            timeout=TIMEOUT_SECONDS,
        )

    def _session(self) -> requests.Session:
        """A session for each thread: connections stay open."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = not is_direct(self.address)
            if self.key:
                self._local.session.auth = bearer(self.key)
        session: requests.Session = self._local.session
        return session
