"""What a line of a list says: one photo. Pure."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

from runs.manifest import BulkPhoto
from runs.run import S3, split_address
from shoal.errors import MalformedMessage, Permanent
from shoal.safe_json import read_object, text

KEYS, SOURCE_REF, INVENTORY = "keys", "source-ref", "inventory"
SHOWN = 200  # characters of a line that cannot be understood: they stand for its key


@dataclass(frozen=True, slots=True)
class Inventory:
    """The manifest of an S3 Inventory. bucket: of the photos; kept_in: of the files; columns: of each line."""

    bucket: str
    kept_in: str
    files: Sequence[str]
    columns: Sequence[str]


def read_inventory(body: bytes) -> Inventory:
    """Read `manifest.json`. Raises Permanent."""
    try:
        found = read_object(body, "the manifest of an S3 Inventory")
        kind = text(found["fileFormat"])
        if kind != "CSV":
            raise Permanent(f"the inventory is {kind}: Shoal reads those in CSV, and lists of keys in a text file")
        columns = [one.strip() for one in text(found["fileSchema"]).split(",")]
        files = [text(one["key"]) for one in found["files"]]
        kept_in = text(found["destinationBucket"]).rpartition(":")[2]
        if not {"Bucket", "Key"} <= set(columns):
            raise ValueError("its lines have no bucket or no key")
        return Inventory(text(found["sourceBucket"]), kept_in, files, columns)
    except (KeyError, TypeError, ValueError, MalformedMessage) as error:
        raise Permanent(f"not the manifest of an S3 Inventory: {error}") from error


def kind_of(first: bytes) -> str:
    """Keys, or lines with `source-ref`, by the first line of a list."""
    try:
        read_object(first, "a line")
    except MalformedMessage:
        return KEYS
    return SOURCE_REF


def read_line(kind: str, line: bytes, bucket: str, columns: Sequence[str] = ()) -> BulkPhoto | None:
    """The photo of a line. None for one without a photo: an empty line, an old version.

    bucket: of a key without an address. A line that cannot be understood is a photo with a fault: one failed row.
    """
    line = line.removesuffix(b"\r")
    if not line:
        return None
    try:
        found = _inventory(line.decode(), columns) if kind == INVENTORY else BulkPhoto(*_named(kind, line.decode()))
    except (KeyError, TypeError, ValueError, MalformedMessage, csv.Error) as error:
        why = f"this line of the list is not understood: {error}"
        return BulkPhoto(line.decode(errors="replace")[:SHOWN], fault=why)
    if found and found.bucket == bucket:
        return BulkPhoto(found.key, found.etag, found.size)
    return found


def _named(kind: str, line: str) -> tuple[str, str, int, str]:
    address = text(read_object(line, "a line")["source-ref"]) if kind == SOURCE_REF else line
    if not address.startswith(S3):
        if kind == SOURCE_REF:
            raise ValueError(f"{address[:SHOWN]!r} is not an address like s3://bucket/key")
        return address, "", 0, ""
    try:
        bucket, key = split_address(address)
    except Permanent as error:
        raise ValueError(str(error)) from error
    if not key:
        raise ValueError("the address has no key")
    return key, "", 0, bucket


def _inventory(line: str, columns: Sequence[str]) -> BulkPhoto | None:
    [cells] = csv.reader([line], strict=True)
    if len(cells) != len(columns):
        raise ValueError(f"it has {len(cells)} columns, not {len(columns)}")
    told = dict(zip(columns, cells, strict=True))
    if told.get("IsLatest", "true") == "false" or told.get("IsDeleteMarker") == "true":
        return None
    if not told["Key"]:
        raise ValueError("it has no key")
    etag = told.get("ETag", "")
    key = unquote_plus(told["Key"], errors="strict")
    return BulkPhoto(key, etag and f'"{etag}"', int(told.get("Size") or 0), told["Bucket"])
