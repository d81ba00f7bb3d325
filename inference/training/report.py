"""The report of a training: metrics.json for programs, report.md and report.html for people.

Its pictures: the confusion matrix, the loss of each epoch, and validation images with wrong answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.training.figures import Figures
from inference.training.none_of_these import NoneOfThese

_NUMBERS_UP_TO = 30  # classes; with more the picture has colours without numbers
_LISTED = 30  # images in a list; all are in metrics.json
_WRONG_SHOWN = 24  # validation images
_COLUMNS = 4  # of such images in a row


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image with a wrong answer: its true class, the predicted class and its probability."""

    image: str
    true: str
    said: str
    probability: float


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The content of a report.

    facts:    (name, value) pairs.
    photos:   class -> its images to train, to validate and to test.
    stages:   the fields of each `fit.Fitted`.
    mistakes: of the test images.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    photos: dict[str, tuple[int, int, int]]
    figures: Figures
    stages: tuple[dict[str, Any], ...]
    mistakes: tuple[Mistake, ...]
    skipped: tuple[tuple[str, str], ...]
    none_of_these: NoneOfThese

    def write(self, folder: Path, wrong: Sequence[tuple[Mistake, NDArray[np.uint8]]] = ()) -> None:
        """Write the files of the report into an empty folder.

        wrong: validation images with wrong answers, as RGB [side, side, 3]. They are shown, and test images are not:
        who changes a model until its test images are right does not know how good it is.
        """
        numbers = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / "metrics.json").write_text(numbers + "\n", encoding="utf-8")
        draw(self.figures, folder / _CONFUSION.file)
        draw_losses(self.stages, folder / _LOSS.file)
        if wrong:
            draw_wrong(wrong[:_WRONG_SHOWN], folder / _WRONG.file)
        blocks = _blocks(self, len(wrong))
        (folder / "report.md").write_text(_markdown(self.title, blocks), encoding="utf-8")
        (folder / "report.html").write_text(_html(self.title, blocks), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Table:
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Picture:
    file: str
    words: str


_CONFUSION = _Picture("confusion.png", "The confusion matrix")
_LOSS = _Picture("loss.png", "The loss of each epoch")
_WRONG = _Picture("wrong.png", "Validation images with wrong answers")

_Block = str | _Table | _Picture


def accuracy(figures: Figures) -> str:
    """The accuracy in words, with its confidence interval."""
    return (
        f"{figures.accuracy:.1%} of {figures.images} test images right "
        f"(with 95 % confidence between {figures.low:.1%} and {figures.high:.1%})"
    )


def _blocks(report: TrainingReport, wrong: int) -> list[tuple[str, list[_Block]]]:
    """[(heading, the blocks below it)]."""
    found: list[tuple[str, list[_Block]]] = [
        ("Accuracy", [accuracy(report.figures), _of_classes(report)]),
        ("Confusion matrix", ["Rows: the true class. Columns: the predicted class.", _CONFUSION]),
        ("How it was trained", [_Table(("", ""), list(report.facts)), *map(_stage, report.stages), _LOSS]),
    ]
    if report.none_of_these.words:
        found.insert(1, ("None of these", [report.none_of_these.words]))
    if wrong:
        shown = f"{min(wrong, _WRONG_SHOWN)} of {wrong} wrong answers, the surest first: "
        shown += "the true class, then the predicted."
        found.append(("Validation images with wrong answers", [shown, _WRONG]))
    if report.mistakes:
        rows = [(one.image, one.true, one.said, f"{one.probability:.0%}") for one in report.mistakes]
        found.append(("Mistakes", _listed(("image", "true", "predicted", "probability"), rows)))
    if report.skipped:
        found.append(("Images that were skipped", _listed(("image", "reason"), list(report.skipped))))
    return found


def _of_classes(report: TrainingReport) -> _Table:
    rows = [
        (one.name, *map(str, report.photos[one.name]), _percent(one.precision), _percent(one.recall))
        for one in report.figures.classes
    ]
    return _Table(("class", "to train", "to validate", "to test", "precision", "recall"), rows)


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
    if isinstance(block, _Picture):
        return [f"![{block.words}]({block.file})"]
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
    if isinstance(block, _Picture):
        return f'<p><img src="{block.file}" alt="{block.words}"></p>'
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


def draw_losses(stages: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw the loss of each epoch on the training and on the validation images, a plot for each stage."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.0 * len(stages), 3.6), dpi=100, layout="constrained")
    for place, stage in enumerate(stages, start=1):
        axes = figure.add_subplot(1, len(stages), place)
        numbers = range(1, len(stage["epochs"]) + 1)
        for name, words in (("loss", "training images"), ("val_loss", "validation images")):
            axes.plot(numbers, [epoch[name] for epoch in stage["epochs"]], marker=".", label=words)
        axes.axvline(stage["best"], color="grey", linestyle=":", label="kept")
        axes.set_title(stage["stage"], fontsize="medium")
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    figure.savefig(file)


def draw_wrong(wrong: Sequence[tuple[Mistake, NDArray[np.uint8]]], file: Path) -> None:
    """Draw images with wrong answers: above each its true class, the predicted class and its probability."""
    from matplotlib.figure import Figure

    rows = -(-len(wrong) // _COLUMNS)
    figure = Figure(figsize=(2.5 * _COLUMNS, 2.9 * rows), dpi=100, layout="constrained")
    for place, (mistake, pixels) in enumerate(wrong, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, place)
        axes.imshow(pixels)
        axes.set_axis_off()
        title = f"{mistake.true}\n{mistake.said} {mistake.probability:.0%}"
        axes.set_title(title, fontsize="small", parse_math=False)
    figure.savefig(file)


def _write_numbers(axes: Any, figures: Figures, shares: Sequence[Sequence[float]]) -> None:
    for y, row in enumerate(figures.confusion):
        for x, count in enumerate(row):
            if count:
                colour = "white" if shares[y][x] > 0.5 else "black"
                axes.text(x, y, str(count), ha="center", va="center", color=colour)
