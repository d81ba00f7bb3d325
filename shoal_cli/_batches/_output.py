"""What `shoal classify` and `shoal results` write for each photo: text, CSV or JSON, pictures with boxes, COCO."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from inference.photo_folders import readable
from shoal.messages import CANCELLED
from shoal.photo_record import NAMES, TOP, table_rows
from shoal_cli._batches._boxes import CocoFile, Drawings

F = TypeVar("F", bound=Callable[..., Any])

FORMS = {"": "text", ".txt": "text", ".csv": "csv", ".json": "json", ".jsonl": "json"}  # suffix of --out -> form
WARNINGS_TOLD = 3
NOT_ALL = 2  # the exit status when a photo has no label; 1 when the command failed
_FILE = click.Path(dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option("--json", "as_json", is_flag=True, help="A JSON object for each photo, a line each."),
    click.option("--csv", "as_csv", is_flag=True, help="A table: a row for each photo, or for each detected object."),
    click.option("--top", type=click.IntRange(1, TOP), metavar="N", help=f"Tell the N best labels, at most {TOP}."),
    click.option("--out", type=_FILE, metavar="FILE", help="Write there: .csv, .txt, .json or .jsonl (a line each)."),
    click.option("--draw", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
                 help="Save the pictures there with boxes around the detected objects."),
    click.option("--coco", type=_FILE, metavar="FILE", help="Write the detected objects there, in COCO's format."),
)  # fmt: skip


def failures(count: Mapping[str, int]) -> str:
    """In words, how many photos failed and were cancelled. count: state -> photos."""
    cancelled = count.get(CANCELLED, 0)
    return f"{count.get('failed', 0)} failed" + (f", {cancelled} cancelled" if cancelled else "")


def output_options(command: F) -> F:
    """Give a command the options of `Wanted`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form of the output: "text", "csv" or "json"; how many labels; and files to write besides."""

    form: str
    top: int
    out: Path | None
    draw: Path | None
    coco: Path | None

    @classmethod
    def of(
        cls, as_json: bool, as_csv: bool, top: int | None, out: Path | None, draw: Path | None, coco: Path | None
    ) -> Wanted:
        """Read the options. Raises UsageError, also for a name in `out` that chooses no form."""
        if as_json and as_csv:
            raise click.UsageError("--json and --csv are two forms of one output: give one of them.")
        for path in (out, coco):
            if path is not None and not path.parent.is_dir():
                raise click.UsageError(f"There is no folder {path.parent} for {path.name}.")
        form = "json" if as_json else "csv" if as_csv else _form_of(out)
        return cls(form, top or (1 if form == "text" else TOP), out, draw, coco)


def _form_of(out: Path | None) -> str:
    suffix = out.suffix.lower() if out else ""
    if suffix not in FORMS:
        known = ", ".join(filter(None, FORMS))
        raise click.UsageError(f"--out writes {known}, not {suffix}: name such a file, or give --csv or --json too.")
    return FORMS[suffix]


class Output:
    """Writes photos as they come. Use it in a `with` block.

    path: the file of the photo with an index, or None. max_pixels: of a picture that is opened.
    """

    def __init__(self, wanted: Wanted, path: Callable[[int], Path | None], max_pixels: int) -> None:
        self._wanted = wanted
        self._path = path
        self._files = ExitStack()
        self._out: TextIO | None = None
        self._drawings = Drawings(wanted.draw, max_pixels) if wanted.draw else None
        self._coco = CocoFile(wanted.coco, max_pixels) if wanted.coco else None
        self._warned = 0
        self._warnings: Counter[str] = Counter()

    def __enter__(self) -> Output:
        if self._wanted.out:
            self._out = self._files.enter_context(self._wanted.out.open("w", encoding="utf-8", newline=""))
        if self._wanted.form == "csv":
            self._row(NAMES)
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
        if self._coco:
            self._coco.write()

    def write(self, photo: dict[str, Any]) -> None:
        """Write one photo."""
        self._warned += bool(photo.get("warnings"))
        self._warnings.update(photo.get("warnings") or ())
        path = self._path(photo["index"])
        name = readable(path) if path else ""
        if self._wanted.form == "csv":
            for row in table_rows(photo, self._wanted.top, name):
                self._row(row)
        elif self._wanted.form == "json":
            self._line(json.dumps(_ordered(photo, name, self._wanted.top), ensure_ascii=False))
        else:
            self._line(in_words(photo, name or photo["name"], self._wanted.top))
        if self._drawings:
            self._drawings.add(photo, path)
        if self._coco:
            self._coco.add(photo, path)

    def told(self) -> list[str]:
        """What was written besides the rows, and which labels to doubt, in sentences."""
        return [*self._told_warnings(), *(one.told() for one in (self._drawings, self._coco) if one)]

    def _told_warnings(self) -> list[str]:
        if not self._warned:
            return []
        most = "; ".join(warning for warning, _ in self._warnings.most_common(WARNINGS_TOLD))
        more = "; and others" if len(self._warnings) > WARNINGS_TOLD else ""
        return [f"{self._warned} with a warning: {most}{more}"]

    def _row(self, fields: tuple[str, ...]) -> None:
        csv.writer(self._stream).writerow(fields)
        self._stream.flush()

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    @property
    def _stream(self) -> TextIO:
        # Looked up for each row: while a progress bar is shown, sys.stdout writes above it.
        return self._out or sys.stdout


def _ordered(photo: dict[str, Any], path: str, top: int) -> dict[str, Any]:
    """A photo's record with its path and `top` labels, in the order of the columns."""
    whole = {"path": path, **photo, "labels": photo["labels"][:top]}
    return {name: whole[name] for name in NAMES if name in whole} | whole


def in_words(photo: dict[str, Any], name: str, top: int = 1) -> str:
    """A photo in one line: its name and its `top` best labels or objects with reasons to doubt, or why it has none."""
    if photo["state"] == "failed":
        return f"{name}: failed: {photo['error']}"
    if photo["state"] == CANCELLED:
        return f"{name}: {CANCELLED}"
    if photo["state"] == "queued":
        return f"{name}: waits"
    found = [(one["name"], one["probability"]) for one in photo["labels"]]
    found = found or [(one["name"], one["score"]) for one in photo.get("detections", ())]
    doubt = "".join(f" (warning: {warning})" for warning in photo.get("warnings") or ())
    return f"{name}, " + (", ".join(map(_with_share, found[:top])) or "nothing found") + doubt


def _with_share(found: tuple[str, float | None]) -> str:
    label, share = found
    return label if share is None else f"{label} {share:.1%}"
