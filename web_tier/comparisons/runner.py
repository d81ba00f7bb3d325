"""Runs a comparison in a thread: one at a time, with a limit on its photos and rounds."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from comparison import running
from comparison.link import Link
from comparison.outcome import Outcome
from comparison.photos import as_they_are, prepare
from comparison.running import MeasuredRun
from comparison.schedule import Stint, both_sizes, stints
from comparison.venue_api import VenueApi
from shoal.errors import Permanent
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


class Comparisons:
    """Compares the venues of this server. It calls them over HTTP, as a client does. Safe for many threads.

    venues:   their names.
    settings: those that are in force, for the costs.
    address:  of this server; set by what opens its port.
    """

    def __init__(self, venues: Sequence[str], settings: Callable[[], Settings]) -> None:
        self.venues = tuple(venues)
        self.address = ""
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
        plan = list(stints(both_sizes(self.venues), prepared.names(), rounds))
        calls = [len(stint.photos) for stint in plan]
        self._state = replace(self._state, calls=sum(calls))

        def tell(_: MeasuredRun, stint: Stint) -> None:
            done = sum(calls[: plan.index(stint) + 1])
            told = f"Round {stint.round} of {rounds}" if stint.round else "Warming up"
            self._state = replace(self._state, done=done, told=told)

        door = VenueApi(self.address, Link())
        measured = running.run(plan, door, prepared.lane_content, 1, tell, self._stop.is_set)
        found = Outcome.of(measured, self._settings(), images_a_day, door.peak_bytes())
        return ComparisonState(outcome=found, left_out=tuple(left_out))
