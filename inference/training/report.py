"""The report of a training: metrics.json for programs, report.md and report.html for people, confusion.png."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from inference.training.figures import Figures

_NUMBERS_UP_TO = 30  # classes; with more the picture has colours without numbers
_LISTED = 30  # images in a list; all are in metrics.json
_PICTURE = "confusion.png"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test image with a wrong answer: its true class, the predicted class and its probability."""

    image: str
    true: str
    said: str
    probability: float


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The content of a report. facts: (name, value) pairs; stages: the fields of each `fit.Fitted`."""

    title: str
    facts: tuple[tuple[str, str], ...]
    figures: Figures
    stages: tuple[dict[str, Any], ...]
    mistakes: tuple[Mistake, ...]
    skipped: tuple[tuple[str, str], ...]

    def write(self, folder: Path) -> None:
        """Write the four files of the report into an empty folder."""
        numbers = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / "metrics.json").write_text(numbers + "\n", encoding="utf-8")
        draw(self.figures, folder / _PICTURE)
        blocks = _blocks(self)
        (folder / "report.md").write_text(_markdown(self.title, blocks), encoding="utf-8")
        (folder / "report.html").write_text(_html(self.title, blocks), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Table:
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


_Block = str | _Table | Path  # a paragraph, a table, a picture


def accuracy(figures: Figures) -> str:
    """The accuracy in words, with its confidence interval."""
    return (
        f"{figures.accuracy:.1%} of {figures.images} test images right "
        f"(with 95 % confidence between {figures.low:.1%} and {figures.high:.1%})"
    )


def _blocks(report: TrainingReport) -> list[tuple[str, list[_Block]]]:
    """[(heading, the blocks below it)]."""
    found: list[tuple[str, list[_Block]]] = [
        ("Accuracy", [accuracy(report.figures), _of_classes(report.figures)]),
        ("Confusion matrix", ["Rows: the true class. Columns: the predicted class.", Path(_PICTURE)]),
        ("How it was trained", [_Table(("", ""), list(report.facts)), *map(_stage, report.stages)]),
    ]
    if report.mistakes:
        rows = [(one.image, one.true, one.said, f"{one.probability:.0%}") for one in report.mistakes]
        found.append(("Mistakes", _listed(("image", "true", "predicted", "probability"), rows)))
    if report.skipped:
        found.append(("Images that were skipped", _listed(("image", "reason"), list(report.skipped))))
    return found


def _of_classes(figures: Figures) -> _Table:
    rows = [(one.name, str(one.images), _percent(one.precision), _percent(one.recall)) for one in figures.classes]
    return _Table(("class", "test images", "precision", "recall"), rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _stage(stage: dict[str, Any]) -> str:
    best = stage["epochs"][stage["best"] - 1]
    return (
        f"{stage['stage']}: {len(stage['epochs'])} epochs; epoch {stage['best']} was kept: loss {best['loss']:.3f} and "
        f"accuracy {best['accuracy']:.1%} on the training images, {best['val_loss']:.3f} and "
        f"{best['val_accuracy']:.1%} on the validation images."
    )


def _listed(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[_Block]:
    more = len(rows) - _LISTED
    table = _Table(head, rows[:_LISTED])
    return [table, f"and {more} more, in metrics.json"] if more > 0 else [table]


def _markdown(title: str, blocks: Sequence[tuple[str, list[_Block]]]) -> str:
    lines = [f"# {title}"]
    for heading, content in blocks:
        lines += ["", f"## {heading}"]
        for block in content:
            lines += ["", *_markdown_of(block)]
    return "\n".join(lines) + "\n"


def _markdown_of(block: _Block) -> list[str]:
    if isinstance(block, str):
        return [block]
    if isinstance(block, Path):
        return [f"![The confusion matrix]({block})"]
    rows = [block.head, ("---",) * len(block.head), *block.rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _html(title: str, blocks: Sequence[tuple[str, list[_Block]]]) -> str:
    style = "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    style += "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #ddd}"
    style += "img{max-width:100%}"
    parts = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>']
    parts += [f"<style>{style}</style><h1>{escape(title)}</h1>"]
    for heading, content in blocks:
        parts += [f"<h2>{escape(heading)}</h2>", *map(_html_of, content)]
    return "\n".join(parts) + "\n</html>\n"


def _html_of(block: _Block) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Path):
        return f'<p><img src="{block}" alt="The confusion matrix"></p>'
    head = "".join(f"<th>{escape(cell)}</th>" for cell in block.head)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
    return f"<table><tr>{head}</tr>\n{rows}</table>"


def draw(figures: Figures, file: Path) -> None:
    """Draw the confusion matrix: colours are shares of the true class, numbers are images."""
    from matplotlib.figure import Figure

    names = [one.name for one in figures.classes]
    inches = min(16.0, 3.5 + 0.45 * len(names))
    figure = Figure(figsize=(inches + 0.8, inches), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    shares = [[n / max(1, sum(row)) for n in row] for row in figures.confusion]
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{figures.accuracy:.1%} of {figures.images} test images right")
    if len(names) <= _NUMBERS_UP_TO:
        _write_numbers(axes, figures, shares)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class")
    figure.savefig(file)


def _write_numbers(axes: Any, figures: Figures, shares: Sequence[Sequence[float]]) -> None:
    for y, row in enumerate(figures.confusion):
        for x, count in enumerate(row):
            if count:
                colour = "white" if shares[y][x] > 0.5 else "black"
                axes.text(x, y, str(count), ha="center", va="center", color=colour)
