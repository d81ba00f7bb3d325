"""A simulation as one HTML page: the table, the plots and the settings. The page loads nothing, and has no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from shoal.prices import dollars
from shoal_cli._simulations import _table as table
from simulator import plots
from simulator.run import Scenario
from simulator.simulation import Simulation

_STYLE = """
:root { color-scheme: light dark; --paper: #f4f7f8; --card: #fff; --ink: #0f2029; --soft: #52656f; --line: #dbe4e8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0b1317; --card: #131f25; --ink: #e7eff2; --soft: #9ab0ba; --line: #25363f; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 20px 16px 40px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.5rem; margin: 0 0 8px; } h2 { font-size: 1.1rem; margin: 28px 0 10px; }
p { margin: 0 0 8px; max-width: 80ch; overflow-wrap: anywhere; } .notes p { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 12px; margin: 12px 0; }
table { border-collapse: collapse; width: 100%; white-space: nowrap; }
th, td { padding: 6px 12px; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
tbody tr:last-child > * { border-bottom: 0; } tbody th { font-weight: 400; } .best > * { font-weight: 600; }
thead { color: var(--soft); } thead th { font-weight: 600; }
.plots { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); }
figure { margin: 0; max-width: 580px; padding: 10px; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; }
figure svg { display: block; width: 100%; height: auto; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 8px 20px; margin: 0; }
dt { color: var(--soft); font-size: .9rem; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 500px) { th, td { padding: 6px 8px; } table { font-size: .9rem; } }
"""


def of_comparison(found: Simulation, simulated: Scenario) -> str:
    """The page of a comparison."""
    rows = list(table.rows(found, len(simulated.arrivals)))
    parts = [
        _paragraphs([table.what(simulated)]),
        _table(("wait in seconds", *table.HEAD), rows),
        _paragraphs(table.notes(found), "notes"),
        _plots(plots.as_svg(found, simulated.terms.target_seconds)),
        _settings(simulated),
    ]
    return _page("What each scaling policy would have cost", parts)


def of_tuning(
    head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str], plot: tuple[str, str], simulated: Scenario
) -> str:
    """The page of a tuning. words: what is best, and the settings to copy. plot: its title and the SVG."""
    parts = [
        _paragraphs([table.what(simulated)]),
        _table(head, rows),
        _paragraphs(words),
        _plots([plot]),
        _settings(simulated),
    ]
    return _page("Settings that no other beats", parts)


def _page(title: str, parts: Sequence[str]) -> str:
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
    )
    return "\n".join([head, f"<body><main><h1>{escape(title)}</h1>", *parts, "</main></body></html>\n"])


def _paragraphs(sentences: Iterable[str], kind: str = "lead") -> str:
    return f'<div class="{kind}">' + "".join(f"<p>{escape(one)}</p>" for one in sentences) + "</div>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f'<th scope="col">{escape(one)}</th>' for one in head)
    body = "\n".join(map(_row, rows))
    # Who uses the keyboard can scroll it: it has the focus.
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="Figures"><table><thead><tr>{cells}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[str]) -> str:
    name, *values = row
    best = ' class="best"' if name.endswith("*") else ""
    return (
        f'<tr{best}><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(one)}</td>" for one in values)
        + "</tr>"
    )


def _plots(drawn: Sequence[tuple[str, str]]) -> str:
    figures = "\n".join(f'<figure role="img" aria-label="{escape(title)}">{svg}</figure>' for title, svg in drawn)
    return f'<h2>Plots</h2><div class="plots">{figures}</div>'


def _settings(simulated: Scenario) -> str:
    pairs = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _facts(simulated))
    return f"<h2>Settings</h2><dl>{pairs}</dl>"


def _facts(simulated: Scenario) -> Iterator[tuple[str, str]]:
    terms, kind, counts = simulated.terms, simulated.machines, simulated.counts
    limits = terms.limits
    yield "photos", f"{len(simulated.arrivals):,}"
    yield "length", f"{simulated.seconds / 3600:.3g} h"
    yield "a photo's work", kind.service.words
    yield "a boot", kind.boot.words
    yield "target", f"{terms.target_seconds:g} s"
    yield "machines", f"{limits.least} to {limits.most}"
    yield "quiet time", f"{limits.quiet_seconds:g} s"
    yield "window", f"{limits.window_seconds:g} s"
    yield "price of a machine", f"{dollars(simulated.prices.per_hour)} an hour, by the {simulated.prices.billing}"
    yield "between decisions", f"{simulated.tick:g} s"
    yield "workers at full speed at once", f"{kind.cores or 'all'}"
    yield "machines that the cloud gives", f"{kind.most or 'all'}"
    yield "taken back (spot)", f"{kind.interruptions:g} an hour"
    yield "counts of the queue", f"{counts.lag:g} s late, {100 * counts.zeros:g} % read 0"
    yield "QoS, of the policy qos", f"{terms.qos:g}, factor {terms.scale_factor:g}"
    yield "steps, of the policy step", " ".join(f"{backlog}:{workers}" for backlog, workers in terms.steps)
    yield "seed", str(simulated.seed)
