"""What the page of a run shows of its rows: it asks every other second, and they are read when there are others."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from runs.progress import RunProgress
from web_tier.bulk.rows import PlacedRow, RunRows

NEWEST = 12
FAILED = 50
MOST_KEPT = 128  # lists of rows; the one that was asked for the longest ago goes

Rows = list[PlacedRow]


class ShownRows:
    """Safe for many threads; every method may raise Retryable."""

    def __init__(self, rows: RunRows) -> None:
        self._rows = rows
        self._kept: OrderedDict[tuple[str, str], tuple[Hashable, Rows]] = OrderedDict()
        self._changing = threading.Lock()

    def newest(self, progress: RunProgress) -> Rows:
        """The rows that came last, the newest first."""
        run, shards = progress.run.id, progress.newest
        return self._remembered(run, "newest", shards, NEWEST + 1, lambda: self._rows.newest(run, shards, NEWEST))

    def failed(self, progress: RunProgress) -> Rows:
        """The first rows that failed."""
        run = progress.run.id
        seen = progress.failed, progress.done
        return self._remembered(
            run, "failed", seen, FAILED, lambda: list(self._rows.page(run, "", FAILED, failed_only=True).rows)
        )

    def _remembered(self, run: str, what: str, seen: Hashable, full: int, ask: Callable[[], Rows]) -> Rows:
        """The answer of before, if nothing has changed or it was full: then more rows change nothing."""
        with self._changing:
            kept = self._kept.get((run, what))
        if kept is not None and (kept[0] == seen or len(kept[1]) >= full):
            return kept[1]
        answer = ask()
        with self._changing:
            self._kept[run, what] = seen, answer
            self._kept.move_to_end((run, what))
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return answer
