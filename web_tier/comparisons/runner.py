"""Runs a comparison in a thread: one at a time, with a limit on its photos and rounds."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from comparison import lambda_venue, running
from comparison.in_browser import venue as browser_venue
from comparison.in_browser.venue import BrowserVenue
from comparison.lambda_venue import LambdaVenue
from comparison.link import Link
from comparison.measurement import Lane
from comparison.outcome import Outcome
from comparison.photos import as_they_are, prepare
from comparison.running import Door, Doors, MeasuredRun
from comparison.schedule import Stint, both_sizes, only_whole, stints
from comparison.venue_api import VenueApi
from shoal.errors import Permanent, ShoalError
from shoal.ports import Cloud
from shoal.settings import Settings
from web_tier.problems import Problem

log = logging.getLogger(__name__)

MOST_PHOTOS = 30
MOST_ROUNDS = 3
MOST_IMAGES_A_DAY = 100_000_000
BUSY = "A comparison is under way: wait until it has ended, or stop it."
BROKE = "The comparison broke. The server's log says why."


@dataclass(frozen=True, slots=True)
class ComparisonState:
    """How far the comparison is that runs, and what the last one found.

    done, calls: how many calls were made, and how many there are in all; those to a venue that fails are left out.
    told:        which round it is.
    left_out:    the names of the photos that could not be resized.
    error:       why there is no outcome; empty when there is one, or none was asked for.
    """

    running: bool = False
    done: int = 0
    calls: int = 0
    told: str = ""
    outcome: Outcome | None = None
    left_out: tuple[str, ...] = ()
    error: str = ""


class LambdaFunction(Protocol):
    """The function of the venue `lambda`."""

    def exists(self) -> bool:
        """Whether it is prepared, and this process may know."""

    def forget(self, key: str) -> bool:
        """Delete what its tables say of a photo; False if they know nothing of it. Raises ShoalError."""


class Comparisons:
    """Compares the venues of this server, as a client of its API, the Lambda function, and the browser. Safe for many
    threads.

    venues:   the names of those of this server.
    settings: those that are in force, for the costs.
    cloud:    its buckets are the way to the function.
    address:  of this server; set by what opens its port. key: with which this process calls itself.
    function: where there may be one; set by what makes the app.
    """

    def __init__(self, venues: Sequence[str], settings: Callable[[], Settings], cloud: Cloud) -> None:
        self.venues = tuple(venues)
        self.address = ""
        self.key = ""
        self.function: LambdaFunction | None = None
        self._cloud = cloud
        self._settings = settings
        self._state = ComparisonState()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @property
    def state(self) -> ComparisonState:
        """How far it is."""
        return self._state

    def begin(self, store: Callable[[Path], Sequence[Path]], rounds: int, images_a_day: int) -> None:
        """Start a comparison. Raises Problem (409) while another runs, and what `store` raises.

        store: puts the photos in the folder that it is given, and returns their files.
        """
        with self._lock:
            if self._state.running:
                raise Problem(409, BUSY)
            before, self._state = self._state, ComparisonState(running=True, told="The photos are prepared")
            self._stop.clear()
        folder = tempfile.TemporaryDirectory(prefix="shoal-compare-")
        try:
            files = store(Path(folder.name))
        except BaseException:
            self._state = before
            folder.cleanup()
            raise
        work = (folder, files, rounds, images_a_day)
        threading.Thread(target=self._run, args=work, name="comparison", daemon=True).start()

    def stop(self) -> None:
        """End the comparison that runs, after the call that is under way. What was measured is kept."""
        self._stop.set()

    def _run(
        self, folder: tempfile.TemporaryDirectory[str], files: Sequence[Path], rounds: int, images_a_day: int
    ) -> None:
        try:
            with folder:
                self._state = self._compare(Path(folder.name), files, rounds, images_a_day)
        except Permanent as error:
            self._state = ComparisonState(error=f"Nothing was compared: {error}.")
        except Exception:
            log.exception("a comparison broke")
            self._state = ComparisonState(error=BROKE)

    def _compare(self, folder: Path, files: Sequence[Path], rounds: int, images_a_day: int) -> ComparisonState:
        made = folder / "made"
        made.mkdir()
        prepared, left_out = prepare(as_they_are(files), made)
        api = VenueApi(self.address, Link(), key=self.key)
        with self._with_function() as own, BrowserVenue(api, self._settings().chromium) as browser:
            here = {browser_venue.NAME: browser} if api.browser_bytes() else {}
            lanes = [*both_sizes((*self.venues, *own)), *only_whole(here)]
            plan = list(stints(lanes, prepared.names(), rounds))
            measured = self._measure(plan, Doors({**own, **here}, api), prepared.lane_content, rounds)
        peaks = api.peak_bytes() | {browser_venue.NAME: browser.peak_bytes}
        found = Outcome.of(measured, self._settings(), images_a_day, peaks)
        return ComparisonState(outcome=found, left_out=tuple(left_out))

    def _measure(
        self, plan: Sequence[Stint], door: Door, contents: Callable[[str, Lane], bytes], rounds: int
    ) -> MeasuredRun:
        calls = [len(stint.photos) for stint in plan]
        self._state = replace(self._state, calls=sum(calls))

        def tell(_: MeasuredRun, stint: Stint) -> None:
            done = sum(calls[: plan.index(stint) + 1])
            told = f"Round {stint.round} of {rounds}" if stint.round else "Warming up"
            self._state = replace(self._state, done=done, told=told)

        return running.run(plan, door, contents, 1, tell, self._stop.is_set)

    @contextmanager
    def _with_function(self) -> Iterator[dict[str, Door]]:
        """The door of the function, by its name, where it is prepared. What it has stored is deleted at the end."""
        function = self.function
        if function is None or not function.exists():
            yield {}
            return
        door = LambdaVenue(self._cloud.inputs, self._cloud.outputs, self._settings().lambda_prefix, Link())
        try:
            yield {lambda_venue.NAME: door}
        finally:
            try:
                door.clean(function.forget)
            except ShoalError as error:
                log.warning("what a comparison stored under %s is still there: %s", door.prefix, error)
