"""SOURCE of `shoal label` as a list of photos: in a bucket, a file of this machine, or standard input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import click

from runs.lists.lines import LONGEST, lines_of
from runs.lists.reading import INVENTORY, KEYS, SOURCE_REF, kind_of, read_inventory, read_line
from runs.lists.source import part_name
from runs.run import S3, Run, folder_of, split_address
from shoal.errors import Permanent
from shoal.ports import Cloud
from shoal.settings import Settings

STANDARD_INPUT = "-"
KINDS = {".json": INVENTORY, ".jsonl": SOURCE_REF, ".manifest": SOURCE_REF, ".txt": KEYS}
PART_BYTES = 4_000_000  # of a list that is stored, about


def is_list(source: str) -> bool:
    """Whether SOURCE is a list, and not a bucket's prefix or a folder."""
    if source.startswith(S3):
        return _suffix(source) in KINDS
    return source == STANDARD_INPUT or Path(source).is_file()


def listed_by(cloud: Cloud, chosen: Settings, run: Run, source: str, bucket: str) -> Run:
    """The run with the list SOURCE. One of this machine is stored in the input bucket first: the workers read it.

    bucket: of keys without an address; empty when not given. Raises Permanent when the list cannot be used.
    """
    if source.startswith(S3):
        held, key = split_address(source)
        kind = KINDS[_suffix(source)]
        found = replace(run, list_kind=kind, list_at=source)
        if kind == INVENTORY:
            return replace(found, bucket=read_inventory(cloud.buckets[held].get(key)).bucket)
        first = next((line for _, line in lines_of(cloud.buckets[held], key)), b"")
        return replace(found, bucket=bucket or _bucket_of(kind, first))
    prefix = f"{folder_of(run.id)}list/"
    at = f"{S3}{chosen.in_bucket}/{prefix}"
    if _suffix(source) == ".json":
        body = Path(source).read_bytes()
        inventory = read_inventory(body)
        cloud.inputs.put(f"{prefix}manifest.json", body, "application/json")
        return replace(run, list_kind=INVENTORY, list_at=f"{at}manifest.json", bucket=inventory.bucket)
    with click.open_file(source, "rb") as lines:
        first = lines.readline(LONGEST)
        kind = kind_of(first)
        named = bucket or _bucket_of(kind, first.rstrip(b"\n"))
        count = 0
        for count, body in enumerate(_parts(first, lines), 1):
            cloud.inputs.put(f"{prefix}{part_name(count - 1)}", body, "text/plain")
    return replace(run, list_kind=kind, list_at=at, list_parts=count, bucket=named)


def _parts(first: bytes, lines: IO[bytes]) -> Iterator[bytes]:
    """The lines in parts that end with a line."""
    gathered = first
    while body := lines.read(PART_BYTES):
        whole, end, rest = (gathered + body).rpartition(b"\n")
        if end:
            yield whole + end
        gathered = rest
    if gathered:
        yield gathered


def _bucket_of(kind: str, first: bytes) -> str:
    """That of the first line. Raises Permanent when it has none."""
    if not first:
        raise Permanent("the list is empty, or begins with an empty line")
    photo = read_line(kind, first, "")
    if photo is None or photo.fault:
        raise Permanent(f"the list is not understood from its first line on: {photo.fault if photo else ''}")
    if not photo.bucket:
        raise Permanent("the list has keys without an address (s3://bucket/key): name their bucket by --bucket")
    return photo.bucket


def _suffix(source: str) -> str:
    return Path(source.rpartition("/")[2]).suffix.lower()
