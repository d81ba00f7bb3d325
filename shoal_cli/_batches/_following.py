"""Waits for the answers of a batch, and says what it waits for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shoal.errors import Retryable, ShoalError
from shoal_cli._batches._counted import counted
from shoal_cli._batches._progress_lines import ProgressLines
from shoal_cli._client import PAGE, Client, told

LEAST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.3, 2.0  # between two looks at the results
LOOKS = 10  # in the time that the rest is expected to take
LEAST_PAGE = 20  # photos in a call
SILENT_SECONDS = 3.0  # without an answer for so long, a person wants to know why

Tell = Callable[[int, str], None]


def answers(client: Client, batch: str, total: int, patience: float, tell: Tell) -> Iterator[dict[str, Any]]:
    """Yield the photos in order, each as soon as it and all before it have an answer.

    tell: is given the number of answers, also of photos behind one that waits, and a sentence on what the others wait
    for, empty while all goes well.
    Raises Retryable after `patience` seconds without an answer, also while no Shoal answers at all.
    """
    written, answered, index, page = 0, 0, -1, PAGE
    began = last = asked = time.monotonic()
    while written < total:
        why = ""
        with _retried(tell, answered, patience, last):
            look = _Look(client.photos(batch, index, page), page)
            before = written
            for photo in look.in_order():
                written, index = written + 1, photo["index"]
                yield photo
            news = written + look.behind > answered
            page = next_page(page, written - before + look.behind, news)
            if news:
                answered, last = written + look.behind, time.monotonic()
        if time.monotonic() - max(last, asked) > SILENT_SECONDS:
            asked, why = time.monotonic(), _why(client, batch)
        tell(answered, why)
        if time.monotonic() - last > patience:
            waiting = counted(total - answered, "photo")
            raise Retryable(f"{waiting} had no answer for {patience:g} s: {client.address}/batches/{batch}")
        if written < total:
            time.sleep(pause_seconds(answered, total, time.monotonic() - began))


class _Look:
    """One look at the photos of a batch, `page` of them in a call.

    behind: how many have an answer and come after one that waits.
    """

    def __init__(self, photos: Iterator[dict[str, Any]], page: int) -> None:
        self._photos = photos
        self._page = page
        self.behind = 0

    def in_order(self) -> Iterator[dict[str, Any]]:
        """Yield the photos before the first that waits; the others of its page are counted."""
        waits = False
        for place, photo in enumerate(self._photos, 1):
            waits = waits or photo["state"] == "queued"
            if not waits:
                yield photo
                continue
            self.behind += photo["state"] != "queued"
            if place % self._page == 0:
                return  # the next page would be another call


@contextmanager
def _retried(tell: Tell, answered: int, patience: float, last: float) -> Iterator[None]:
    """Go on after a call that had no answer, unless the last answer is `patience` seconds ago. Raises Retryable."""
    try:
        with told(lambda why: tell(answered, why), patience):
            yield
    except Retryable:
        if time.monotonic() - last > patience:
            raise


def pause_seconds(answered: int, total: int, took: float) -> float:
    """The time until the next look at the results, for which the web tier lists what is left of the batch.

    A share of the time that the rest is expected to take: few looks at a long batch, and the last label at once.
    took: seconds until now.
    """
    left = took * (total - answered) / answered if answered else took
    return min(LONGEST_PAUSE_SECONDS, max(LEAST_PAUSE_SECONDS, left / LOOKS))


def next_page(page: int, seen: int, news: bool) -> int:
    """How many photos to ask for in the next look: listing those that wait is work for the machine that labels them.

    page: of the look before, which saw `seen` answers. news: whether any of them was new. If none was, answers may have
    come behind the page: photos are not always answered in their order.
    """
    return min(PAGE, max(LEAST_PAGE, 2 * seen) if news else 2 * page)


def _why(client: Client, batch: str) -> str:
    try:
        return client.status(batch)
    except ShoalError:  # the results are asked for again anyway
        return ""


@dataclass
class Bars:
    """Progress bars on a terminal; in a pipe a line for each new sentence, and how far it is now and then.

    now: seconds by a clock that nobody sets.
    """

    screen: Console
    total: int
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        live = self.screen.is_terminal
        # Rows that go to the same terminal are put above the bars; those to a file or a pipe must not be touched.
        redirect = live and sys.stdout.isatty()
        self._progress = Progress(
            *columns, console=self.screen, transient=True, disable=not live, redirect_stdout=redirect
        )
        self._told = ""
        self._lines = ProgressLines(self.screen, self.now)

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def bar(self, words: str) -> Tell:
        """A new bar. Returns what moves it."""
        task = self._progress.add_task(words, total=self.total)

        def tell(done: int, why: str = "") -> None:
            self._progress.update(task, completed=done)
            if why and why != self._told:
                self._told = why
                self.screen.print(why, markup=False, soft_wrap=True)
            if done < self.total:
                self._lines.tell(f"{words.capitalize()}: {done} of {self.total}")

        return tell
