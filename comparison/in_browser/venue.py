"""Labels a photo on the page "On this device" of a Shoal, in a headless Chromium: nothing of the photo leaves it."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any, Self

from comparison.answer import BROWSER
from comparison.in_browser import chromium
from comparison.in_browser.chromium import Chromium, ChromiumPage
from comparison.link import ANSWER_BYTES
from comparison.measurement import Measurement
from comparison.schedule import Stint
from comparison.venue_api import VenueApi
from shoal.errors import Permanent, ShoalError

NAME = BROWSER
PAGE = "/device"
UNPREPARED = "the network for browsers is not prepared on this Shoal: `shoal models prepare --browser`"
_MEASURE = 'import("/static/js/device/measure.js").then((module) => module.measure({photo}))'


class BrowserVenue:
    """Measures the page of the Shoal of `api`. Many threads may call `measure`; call `close` at the end.

    named: the program of a Chromium; empty for the first that is found. The attribute `peak_bytes`, after the end: the
    most memory that the process of the page has held at once.
    """

    def __init__(self, api: VenueApi, named: str) -> None:
        self._api = api
        self._named = named
        self._chromium: Chromium | None = None
        self._page: ChromiumPage | None = None
        self._lock = threading.Lock()
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def measure(self, stint: Stint, photo: str, content: bytes) -> Measurement:
        """Label one photo. What goes wrong is in the measurement. A cold call is the first use of a new browser, and
        then that of a page which finds the network in the browser's cache."""
        call = _MEASURE.format(photo=json.dumps(base64.b64encode(content).decode()))
        fetched, fetching, kept = 0, 0.0, 0.0
        try:
            page = self._first_page()
            if stint.phase == "cold":
                fetched = self._api.browser_bytes()
                began = time.perf_counter()
                self._api.pause(self._api.link.seconds(fetched) + self._api.link.seconds(ANSWER_BYTES))
                fetching = time.perf_counter() - began
            told = page.run(call)
            if stint.phase == "cold":
                kept = self._next_page().run(call)["total"] / 1000
        except ShoalError as error:
            return Measurement(stint.lane, photo, stint.round, stint.phase, 0.0, error=str(error))
        return _measured(stint, photo, told, fetching, fetched, kept)

    def close(self) -> None:
        """End the browser, if one was started."""
        with self._lock:
            if self._chromium:
                try:
                    self.peak_bytes = self._chromium.peak_bytes()
                except ShoalError:
                    self.peak_bytes = 0
                self._chromium.close()
                self._chromium = self._page = None

    def _first_page(self) -> ChromiumPage:
        """The page, opened. Raises Permanent."""
        with self._lock:
            if self._page is None:
                program = chromium.find(self._named)
                if program is None:
                    raise Permanent(chromium.MISSING)
                if not self._api.browser_bytes():
                    raise Permanent(UNPREPARED)
                self._chromium = self._chromium or Chromium(program)
                self._page = self._new_page()
            return self._page

    def _next_page(self) -> ChromiumPage:
        """A page in place of the first, as somebody opens it who comes again."""
        with self._lock:
            if self._page:
                self._page.close()
            self._page = self._new_page()
            return self._page

    def _new_page(self) -> ChromiumPage:
        if self._chromium is None:
            raise Permanent("Chromium has ended")
        return self._chromium.page(self._api.address + PAGE, self._api.headers)


def _measured(
    stint: Stint, photo: str, told: dict[str, Any], fetching: float, fetched: int, kept: float
) -> Measurement:
    inference = (told["opening"] + told["computing"]) / 1000
    total = told["total"] / 1000
    return Measurement(
        lane=stint.lane,
        photo=photo,
        round=stint.round,
        phase=stint.phase,
        total=fetching + total,
        wait=max(0.0, total - inference),
        inference=inference,
        label=str(told["label"]),
        device=inference,
        fetched_bytes=fetched,
        kept=kept,
    )
