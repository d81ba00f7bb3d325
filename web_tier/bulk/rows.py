"""The rows of a run: page by page, as one stream, and the newest. A page reads few shards, however long the run is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runs.records import RunRecords
from runs.rows import BulkRow
from web_tier.problems import Problem
from web_tier.schemas.runs import CURSOR_PATTERN

MOST_READ = 20  # objects of results for a page


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row, and where it stands: the number of its shard and its line there."""

    shard: int
    line: int
    row: BulkRow

    @property
    def cursor(self) -> str:
        """A page may begin with it."""
        return f"{self.shard}-{self.line}"


@dataclass(frozen=True, slots=True)
class RowPage:
    """Some rows. following: the cursor of the next page; None when this is the last."""

    rows: Sequence[PlacedRow]
    following: str | None


class RunRows:
    """The rows of all runs. Every method may raise Retryable."""

    def __init__(self, records: RunRecords) -> None:
        self._records = records

    def page(self, run: str, cursor: str, limit: int, failed_only: bool = False) -> RowPage:
        """The rows from `cursor` on, from the first if it is empty. Raises Problem (400).

        While a run goes on a page ends before the first shard that is not done, so that nothing is passed over.
        """
        shard, line = _place(cursor)
        ended = self._records.summary(run) is not None
        rows: list[PlacedRow] = []
        reads = 0
        for done in self._records.done_after(run, shard - 1):
            if done.shard != shard:
                if not ended:
                    break
                shard, line = done.shard, 0
            if line < done.images and (done.failed or not failed_only):
                if reads >= MOST_READ:
                    return RowPage(rows, f"{shard}-{line}")
                reads += 1
                for one in self._rows(run, shard):
                    if one.line < line or (failed_only and not one.row.failed):
                        continue
                    if len(rows) >= limit:
                        return RowPage(rows, one.cursor)
                    rows.append(one)
            shard, line = shard + 1, 0
        return RowPage(rows, None if ended else f"{shard}-{line}")

    def newest(self, run: str, shards: Sequence[int], most: int) -> list[PlacedRow]:
        """The last rows of these shards, the newest first."""
        found: list[PlacedRow] = []
        for shard in shards:
            found += reversed(list(self._rows(run, shard)))
            if len(found) >= most:
                break
        return found[:most]

    def row(self, run: str, shard: int, line: int) -> BulkRow | None:
        """One row; None when it is not there."""
        lines = (self._records.results(run, shard) or b"").splitlines()
        return BulkRow.from_line(lines[line]) if line < len(lines) else None

    def lines(self, run: str) -> Iterator[bytes]:
        """All rows until now as lines of JSON, shard by shard."""
        for done in self._records.done_after(run, -1):
            yield self._records.results(run, done.shard) or b""

    def _rows(self, run: str, shard: int) -> Iterator[PlacedRow]:
        for line, body in enumerate((self._records.results(run, shard) or b"").splitlines()):
            yield PlacedRow(shard, line, BulkRow.from_line(body))


def _place(cursor: str) -> tuple[int, int]:
    """The shard and the line of the first row of a page."""
    if not cursor:
        return 0, 0
    if not re.fullmatch(CURSOR_PATTERN[1:-1], cursor):
        raise Problem(400, f"cursor={cursor[:40]!r} is none: take it from `next` of the page before.")
    shard, line = map(int, cursor.split("-"))
    return shard, line
