"""The program of the page and the controller, packed for its instance on AWS."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from shoal.errors import Permanent
from shoal.folders import folder

PACKAGES = ("shoal", "shoal_cli", "inference", "controller", "web_tier", "comparison", "runs")
FOLDERS = ("ami", "requirements", "static", "templates")


def pack() -> tuple[str, bytes]:
    """The package and the key of its object: the same program has the same key. Raises Permanent."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "constraints.txt").is_file():
        raise Permanent("an installed Shoal lacks what the page's instance is made of: run this in a checkout")
    packed = io.BytesIO()
    # The time in the header is no part of the program.
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for path, name in _files(root):
            archive.add(path, name, recursive=False, filter=_plain)
    body = packed.getvalue()
    return f"shoal-{hashlib.sha256(body).hexdigest()[:32]}.tar.gz", body


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    yield root / "constraints.txt", "constraints.txt"
    places = [(root / name, name) for name in PACKAGES] + [(folder(name), name) for name in FOLDERS]
    for place, name in places:
        for path in sorted(place.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path, f"{name}/{path.relative_to(place)}"


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what depends on this machine: owner, times, odd permissions."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = "root"
    info.mode = 0o755 if info.mode & 0o100 else 0o644
    return info
