"""A table as CSV: a row for each photo, or for each object in it. Its columns are those of the page and the API."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from runs.exports.results import ExportPhoto
from runs.exports.whole_file import whole_file
from runs.rows import Picture
from shoal import photo_record
from shoal.messages import Job

_UNKNOWN = {"path", "name", "batch", "index", "cached", "correction", "seconds"}  # to a row of a run
_SHARED = [name for name in photo_record.NAMES if name not in _UNKNOWN]
_PICTURE = tuple(one.name for one in fields(Picture))
COLUMNS = ("key", "address", "etag", "size", *_PICTURE, *_SHARED)


def write(photos: Iterable[ExportPhoto], out: Path) -> str:
    """Write a file; returns no remark. Failed photos are rows, too."""
    with whole_file(out) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for photo in photos:
            entry, result = photo.row.entry, photo.row.result
            picture = photo.row.picture.to_dict()
            first = (entry.key, photo.address, entry.etag, entry.size, *(picture.get(name, "") for name in _PICTURE))
            record = photo_record.record(Job("", 0, entry.key, ""), result)
            record["labels"] = result.to_dict()["labels"]  # all that the run was asked for
            for row in photo_record.table_rows(record, top=len(result.labels)):
                told = dict(zip(photo_record.NAMES, row, strict=True))
                writer.writerow([*first, *(told[name] for name in _SHARED)])
    return ""
