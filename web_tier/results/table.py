"""A batch as a CSV file, for a spreadsheet or a program."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator
from itertools import chain

from shoal.photo_record import NAMES, table_rows
from web_tier.results.batches import Batch

FORMULA = ("=", "+", "-", "@", "\N{MINUS SIGN}")  # how a formula begins


def rows(batch: Batch) -> Iterator[str]:
    """The lines of the file, the column names first."""
    line = io.StringIO()
    writer = csv.writer(line)
    for fields in chain((NAMES,), *(table_rows(photo.to_dict()) for photo in batch.photos)):
        line.seek(0)
        line.truncate()
        writer.writerow(map(_harmless, fields))
        yield line.getvalue()


def _harmless(text: str) -> str:
    """Quote text that a spreadsheet would run as a formula: file names come from strangers.

    Some spreadsheets read a full-width or small `=` as the plain one, and pass over blanks before it.
    """
    plain = unicodedata.normalize("NFKC", text).lstrip()
    return f"'{text}" if plain.startswith(FORMULA) or text.startswith(("\t", "\r", "\n")) else text
