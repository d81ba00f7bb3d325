"""What a comparison found: the figures of each lane, the costs, and the answer; also as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from comparison import report
from comparison.answer import BROWSER, Verdict, answer
from comparison.costs import MonthlyCost
from comparison.figures import LaneFigures, rows
from comparison.measurement import AS_IT_IS, Lane
from comparison.pricing import WAVES_A_DAY, monthly_costs
from comparison.running import MeasuredRun
from shoal.settings import Settings

REFERENCE = Lane("pool", AS_IT_IS)  # labels are compared with those of this lane


@dataclass(frozen=True, slots=True)
class Outcome:
    """A comparison that has ended. costs: venue -> its cost. volume: the images a day that are priced."""

    rows: Sequence[LaneFigures]
    costs: Mapping[str, MonthlyCost]
    volume: int
    interrupted: bool

    @classmethod
    def of(cls, measured: MeasuredRun, settings: Settings, volume: int, peaks: Mapping[str, int]) -> Self:
        """What was found so far; costs as these settings make them.

        peaks: venue -> the most memory that a process of it has held at once, in bytes.
        """
        lanes = rows(measured.measurements, measured.busy_seconds, REFERENCE)
        found = [replace(row, peak_bytes=peaks.get(row.lane.venue, 0)) for row in lanes]
        return cls(found, monthly_costs(settings, found), volume, measured.interrupted)

    @property
    def answer(self) -> Verdict:
        """Which lane to use, and from which volume on another is cheaper."""
        return answer(self.rows, self.costs, self.volume)

    @property
    def notes(self) -> list[str]:
        """What must be known to read the figures."""
        found = next((row for row in self.rows if row.lane.venue == BROWSER and row.seconds), None)
        if found is None:
            return []
        return [
            "The browser was a headless Chromium of this machine. Nothing of a photo leaves it. "
            f"At its first use it fetches {found.fetched_bytes / 1e6:.1f} MB, and the first label comes after "
            f"{found.cold or 0:.1f} s; later the network is kept, and it comes after {found.kept:.1f} s. "
            f"Its cost is that transfer to {WAVES_A_DAY:.0f} new devices a day, without a machine for the page."
        ]

    def to_dict(self) -> dict[str, Any]:
        """All figures, as JSON types."""
        return report.as_json(self.rows, self.costs, self.volume, self.answer)

    def to_csv(self) -> str:
        """A line for each lane."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, report.COLUMNS)
        writer.writeheader()
        writer.writerows(report.csv_rows(self.rows))
        return text.getvalue()
