"""A comparison of scalers on one scenario: a row for each, beside what one that knows the future could do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from simulator.figures import ScalerFigures
from simulator.oracles import CostBound, best_schedules, lower_bound
from simulator.run import Progress, Ran, Scenario, Unfinished, run


@dataclass(frozen=True, slots=True)
class Simulation:
    """What was simulated.

    runs:     of each scaler that labelled every photo.
    failed:   name -> why there is no run.
    bound:    no scaler needs less.
    oracle:   the cheapest schedule found that knows every arrival; None when none meets the target.
    late_oracle: the same, but it launches nothing before the first photo after an idle time has come.
    """

    runs: tuple[Ran, ...]
    failed: dict[str, str]
    bound: CostBound
    oracle: Ran | None
    late_oracle: Ran | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, without the courses."""
        oracles = {"oracle": self.oracle, "late_oracle": self.late_oracle}
        return {
            "scalers": [one.figures.to_dict() for one in self.runs],
            "failed": self.failed,
            "bound": asdict(self.bound),
            **{name: ran.figures.to_dict() if ran else None for name, ran in oracles.items()},
        }

    def frontier(self) -> tuple[str, ...]:
        """The scalers that no other beats: none is both cheaper and sooner (p95) by more than 2 %."""
        rows = [one.figures for one in self.runs]
        return tuple(row.name for row in rows if not any(_beats(other, row) for other in rows))


def _beats(one: ScalerFigures, other: ScalerFigures) -> bool:
    return one.cost < 0.98 * other.cost and one.wait_p95 < 0.98 * other.wait_p95


def compare(names: Sequence[str], scenario: Scenario, tell: Callable[[str], Progress]) -> Simulation:
    """Simulate each. tell: gives for a name what is called with the simulated seconds."""
    runs: list[Ran] = []
    failed: dict[str, str] = {}
    for name in names:
        try:
            runs.append(run(name, scenario, progress=tell(name)))
        except Unfinished as error:
            failed[name] = str(error)
    tell("oracles")
    return Simulation(tuple(runs), failed, lower_bound(scenario), *best_schedules(scenario))
