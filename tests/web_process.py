"""The web tier as a process of its own for the tests.

`web_process.py [--work] [folder port] [setting=value ...]`: a cloud in memory and, with --work, a fake worker in it;
with a folder, the two buckets are kept there, so that they outlive a kill.
"""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from shoal.buckets.folder_store import FolderStore  # noqa: E402
from shoal.clock import SystemClock  # noqa: E402
from shoal.lifecycle import StopSignal  # noqa: E402
from shoal.memory import memory_cloud  # noqa: E402
from tests.web_fixtures import FakeWorker, settings  # noqa: E402
from web_tier.app import create_app  # noqa: E402
from web_tier.server import WebServer  # noqa: E402

PUT_SECONDS = 0.02  # about what a real store takes, so that there is a middle of the upload to be killed in


class SlowFolderStore(FolderStore):
    """A FolderStore that takes about as long as a real store."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._slow = threading.Event()

    def put(self, key: str, body: bytes, content_type: str) -> None:
        self._slow.wait(PUT_SECONDS)
        super().put(key, body, content_type)

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:
        self._slow.wait(PUT_SECONDS)
        return super().put_new(key, body, content_type)


def main() -> None:
    """Serve until stopped; the first line on stdout is the address."""
    logging.basicConfig(level="WARNING")
    cloud = memory_cloud(SystemClock())
    own = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    words = [word for word in sys.argv[1:] if word != "--work" and "=" not in word]
    port = 0
    if words:
        folder, port = Path(words[0]), int(words[1])
        cloud = replace(cloud, inputs=SlowFolderStore(folder / "inputs"), outputs=SlowFolderStore(folder / "outputs"))
    with StopSignal() as stop:
        server = WebServer(create_app(settings(**own), cloud, SystemClock()), "127.0.0.1", port, 64)
        server.start()
        if "--work" in sys.argv:
            FakeWorker(cloud).start()
        print(f"http://127.0.0.1:{server.port}", flush=True)
        stop.wait()
        server.stop()


if __name__ == "__main__":
    main()
