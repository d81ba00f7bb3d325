"""The controller's daemon as a process, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.ledger import Entry
from shoal.ledger_file import read
from tests.waiting import wait_for as patiently

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 30.0


def wait_for(condition: Callable[[], object], what: str) -> None:
    patiently(condition, DEADLINE_SECONDS, what)


class Daemon:
    """`python controller.py` on the embedded cloud."""

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str, **settings: object) -> None:
        own = {"STATE_DIR": folder, "PREFIX": "rules", "TICK_SECONDS": 0.2, "AMI": "none", **settings}
        self.folder = folder
        self.log = folder / f"log{''.join(arguments)}"
        variables = {f"SHOAL_{name}": str(value) for name, value in own.items()}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "controller.py"), *arguments],
                env={"PATH": os.environ["PATH"], **environment, **variables}, stdout=log, stderr=log,
            )  # fmt: skip

    def told(self, words: str) -> bool:
        assert self.process.poll() is None or words in self.log.read_text(), self.log.read_text()
        return words in self.log.read_text()

    def reload(self, text: str) -> None:
        """Write the settings file and send SIGHUP."""
        (self.folder / "settings.env").write_text(text)
        self.process.send_signal(signal.SIGHUP)

    @property
    def entries(self) -> list[Entry]:
        return list(read(self.folder / "ledger.jsonl"))


@contextmanager
def daemon(folder: Path, environment: dict[str, str], *arguments: str, **settings: object) -> Iterator[Daemon]:
    running = Daemon(folder, environment, *arguments, **settings)
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(DEADLINE_SECONDS)
