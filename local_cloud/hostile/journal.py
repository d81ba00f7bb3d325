"""Every fault that was done, written down: one line of JSON each, by all processes into one file."""

import json
import os
import time
from collections import Counter
from pathlib import Path

JOURNAL_NAME = "hostile.jsonl"


class FaultJournal:
    """Appends to `path`. A line goes out in one write, so that many threads and processes may share the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, kind: str, what: str) -> None:
        """One fault of this kind was done; `what` says to whom."""
        line = json.dumps({"at": round(time.time(), 3), "kind": kind, "what": what}, ensure_ascii=False)
        os.write(self._file, f"{line}\n".encode())


def count(path: Path) -> Counter[str]:
    """How many faults of each kind the file tells of; none when there is no file."""
    if not path.exists():
        return Counter()
    return Counter(json.loads(line)["kind"] for line in path.read_text().splitlines())
