"""Where the controller's ledger lies and how it is read: JSON lines, one a decision. The controller writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "ledger.jsonl"


def older(path: Path) -> Path:
    """Where a ledger's first half goes when it has grown too long."""
    return path.with_suffix(path.suffix + ".1")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a ledger, oldest first; none when there is none. A line that a crash cut short is passed over."""
    for part in (older(path), path):
        if not part.exists():
            continue
        with part.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue
