"""Writes down every fault: one line of JSON each, from all processes into one file."""

import json
import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

JOURNAL_NAME = "hostile.jsonl"


class FaultJournal:
    """Appends to `path`. Each line is one write, so that threads and processes can share the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, kind: str, what: str) -> None:
        """Write down a fault; `what` says to whom it happened."""
        line = json.dumps({"at": round(time.time(), 3), "kind": kind, "what": what}, ensure_ascii=False)
        with suppress(OSError):  # a full disk must not make another fault of it
            os.write(self._file, f"{line}\n".encode())


def count(path: Path) -> Counter[str]:
    """The number of faults of each kind in the file; empty without a file. Lines that a full disk cut do not count."""
    kinds: Counter[str] = Counter()
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        with suppress(ValueError, KeyError, TypeError):
            kinds[json.loads(line)["kind"]] += 1
    return kinds
