"""A batch as a CSV file, for a spreadsheet or a program."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator

from shoal.messages import Result
from web_tier.results import timeline
from web_tier.results.batches import Batch, Photo

LABEL_FIELDS = ("wordnet_id", "readable", "class_id")
COLUMNS = (
    "index",
    "name",
    "state",
    "label",
    "probability",
    "correction",
    "model",
    "seconds",
    "warnings",
    "error",
    *LABEL_FIELDS,
)

FORMULA = ("=", "+", "-", "@", "\N{MINUS SIGN}")  # how a formula begins


def rows(batch: Batch) -> Iterator[str]:
    """The lines of the file, the column names first."""
    line = io.StringIO()
    writer = csv.writer(line)
    for fields in (COLUMNS, *map(_fields, batch.photos)):
        line.seek(0)
        line.truncate()
        writer.writerow(map(_harmless, fields))
        yield line.getvalue()


def _fields(photo: Photo) -> tuple[str, ...]:
    done = photo.result if photo.state == "done" else None
    return (
        str(photo.job.index),
        photo.job.name,
        photo.state,
        photo.label if done else "",
        f"{photo.share:.4f}" if done and photo.share is not None else "",
        photo.correction,
        done.model if done else "",
        f"{timeline.total(photo.seconds):.4f}" if photo.seconds else "",
        "; ".join(photo.warnings),
        photo.result.error if photo.result else "",
        *_label_fields(done),
    )


def _label_fields(done: Result | None) -> tuple[str, str, str]:
    """What else is known of the best label: empty where the model does not know it, or detects objects."""
    if not done or not done.labels:
        return "", "", ""
    best = done.labels[0]
    return best.wordnet_id, best.readable, "" if best.class_id is None else str(best.class_id)


def _harmless(text: str) -> str:
    """Quote text that a spreadsheet would run as a formula: file names come from strangers.

    Some spreadsheets read a full-width or small `=` as the plain one, and pass over blanks before it.
    """
    plain = unicodedata.normalize("NFKC", text).lstrip()
    return f"'{text}" if plain.startswith(FORMULA) or text.startswith(("\t", "\r", "\n")) else text
