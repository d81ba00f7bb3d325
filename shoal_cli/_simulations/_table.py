"""A comparison in words: what was simulated, a row for each scaler, and what the words mean."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.prices import dollars
from simulator.figures import ScalerFigures
from simulator.oracles import WITHIN
from simulator.run import Scenario
from simulator.simulation import Simulation

HEAD = ("p50", "p95", "p99", "in time", "hours", "1,000", "month", "starts", "most")


def what(simulated: Scenario) -> str:
    """One sentence: photos, machines, target and price."""
    terms, kind = simulated.terms, simulated.machines
    return (
        f"{len(simulated.arrivals):,} photos in {simulated.seconds / 3600:.3g} h; a photo takes {kind.service.words}, "
        f"a boot {kind.boot.words}; target {terms.target_seconds:g} s, at most {terms.limits.most} machines at "
        f"{dollars(simulated.prices.per_hour)} an hour, billed by the {simulated.prices.billing}"
        f"{', a minute at least for each' if simulated.prices.billing == 'second' else ''}."
    )


def rows(found: Simulation, photos: int) -> Iterator[list[str]]:
    """A name and a cell for each of HEAD: the scalers, those of the frontier first, then the oracles and the bound."""
    best = set(found.frontier())
    for ran in sorted(found.runs, key=lambda one: (one.figures.name not in best, one.figures.cost)):
        yield _cells(ran.figures, "*" if ran.figures.name in best else "")
    for name, one in (("oracle", found.oracle), ("late oracle", found.late_oracle)):
        if one:
            yield _cells(one.figures, "", name)
    hours = f"{found.bound.machine_seconds / 3600:.2f}"
    yield ["bound", *["-"] * 4, hours, _money(found.bound.cost / photos * 1000), *["-"] * 3]


def _cells(row: ScalerFigures, mark: str, name: str = "") -> list[str]:
    return [
        f"{name or row.name}{mark}",
        *(f"{value:.1f}" if value < 100 else f"{value:,.0f}" for value in (row.wait_p50, row.wait_p95, row.wait_p99)),
        f"{row.within:.1%}".replace("%", " %"),
        f"{row.machine_hours:.2f}",
        _money(row.per_1000),
        f"${row.month:,.0f}" if row.month >= 10 else _money(row.month),
        f"{row.launches:,}",
        f"{row.most_machines:,}",
    ]


def _money(amount: float) -> str:
    return dollars(amount, 2)


def notes(found: Simulation) -> Iterator[str]:
    """What failed, and sentences that explain the table."""
    for name, why in found.failed.items():
        yield f"{name}: {why}"
    yield "hours: of all machines together. 1,000 and month: US dollars for 1,000 photos, and for 30 days like this."
    yield "* no other is both cheaper and sooner (p95) by more than 2 %. bound: no policy needs less machine time."
    if found.oracle:
        yield (
            "oracle: the cheapest schedule found with 99 % in the target, which knows every arrival; late oracle: it "
            "launches nothing before the first photo after an idle time."
        )
    elif in_time := [one.figures.name for one in found.runs if one.figures.within >= WITHIN]:
        yield f"Of the schedules that were tried none labels 99 % within the target. These do: {', '.join(in_time)}."
    else:
        yield "No schedule was found that labels 99 % within the target, even if it knows every arrival."
    if killed := [one.figures.name for one in found.runs if one.figures.busy_killed]:
        yield f"These ended machines while they had photos, which others labelled later: {', '.join(killed)}."
