"""A headless Chromium, started and told what to do through two pipes: no other program and no library is needed.

The messages are those of the Chrome DevTools Protocol, as JSON, each with a zero byte behind it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from shoal.errors import Permanent
from shoal.lifecycle import peak_bytes

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
APPLICATIONS = ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",)  # of macOS, in no PATH
MISSING = "no Chromium or Chrome was found: install one, or set SHOAL_CHROMIUM to its program"
ANSWER_SECONDS = 120.0
END_SECONDS = 5.0
LOOK_SECONDS = 0.01
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_THERE = 'location.href !== "about:blank" && document.readyState === "complete"'
# Chromium reads from its descriptor 3 and writes to 4.
_JOIN = 'from=$1 to=$2; shift 2; exec "$@" 3<"/dev/fd/$from" 4>"/dev/fd/$to"'


def find(named: str) -> str | None:
    """The program of a Chromium: the named one, or the first that is usual; None if there is none."""
    for program in (named,) if named else (*PROGRAMS, *APPLICATIONS):
        if found := shutil.which(program):
            return found
    return None


class Chromium:
    """A running one with an empty profile. Many threads may call it. Raises Permanent if it cannot start, or has ended.

    program: its file.
    """

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="shoal-chromium-", ignore_cleanup_errors=True)
        self._said = Path(self._profile.name) / "said.txt"
        # Without a sandbox where root starts it, for then it has none. It opens one page, of a Shoal.
        flags = (*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--user-data-dir={self._profile.name}")
        its_in, ours_out = os.pipe()
        ours_in, its_out = os.pipe()
        try:
            with self._said.open("wb") as said:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _JOIN, "sh", str(its_in), str(its_out), program, *flags, "about:blank"],
                    pass_fds=(its_in, its_out),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,  # Ctrl-C is for us
                )
        except BaseException:
            os.close(ours_in)
            os.close(ours_out)
            self._profile.cleanup()
            raise
        finally:
            os.close(its_in)
            os.close(its_out)
        self._to = os.fdopen(ours_out, "wb")
        self._from = os.fdopen(ours_in, "rb")
        self._lock = threading.Lock()
        self._count = 0
        self._asked: dict[int, Future[dict[str, Any]]] = {}
        self._ended = False
        self._reader = threading.Thread(target=self._read, name="chromium", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """What it answers. session: of a page. Raises Permanent."""
        answer: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._ended:
                raise Permanent(self._why())
            self._count += 1
            self._asked[self._count] = answer
            message: Mapping[str, Any] = {"id": self._count, "method": method, "params": parameters}
            try:
                self._to.write(json.dumps({**message, "sessionId": session} if session else message).encode() + b"\0")
                self._to.flush()
            except OSError as error:
                raise Permanent(self._why()) from error
        try:
            found = answer.result(ANSWER_SECONDS)
        except CancelledError:
            raise Permanent(self._why()) from None
        except TimeoutError:
            raise Permanent(f"Chromium did not answer within {ANSWER_SECONDS:.0f} s") from None
        if "error" in found:
            raise Permanent(f"Chromium refuses {method}: {found['error'].get('message')}")
        result: dict[str, Any] = found["result"]
        return result

    def page(self, address: str, headers: Mapping[str, str]) -> ChromiumPage:
        """A new page with this address. headers: are sent with what it asks for."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        if headers:
            self.call("Network.enable", session)
            self.call("Network.setExtraHTTPHeaders", session, headers=dict(headers))
        page = ChromiumPage(self, target, session, address)
        page.open()
        return page

    def peak_bytes(self) -> int:
        """The most memory that one of its processes with a page has held at once; 0 where it cannot be read."""
        told = self.call("SystemInfo.getProcessInfo")["processInfo"]
        return max((peak_bytes(one["id"]) for one in told if one["type"] == "renderer"), default=0)

    def close(self) -> None:
        """End it, and delete its profile."""
        with self._lock, suppress(OSError):
            self._to.close()  # it ends with its pipe
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(END_SECONDS)
        self._from.close()
        self._profile.cleanup()

    def _read(self) -> None:
        """Hand out its answers until it ends."""
        rest = b""
        while part := os.read(self._from.fileno(), 1 << 16):
            *whole, rest = (rest + part).split(b"\0")
            for one in whole:
                self._take(json.loads(one))
        with self._lock:
            self._ended = True
            for asked in self._asked.values():
                asked.cancel()

    def _take(self, told: dict[str, Any]) -> None:
        if asked := self._asked.pop(told.get("id", 0), None):
            asked.set_result(told)

    def _why(self) -> str:
        lines = self._said.read_text(errors="replace").splitlines() if self._said.exists() else []
        return f"Chromium ended: {lines[-1].strip()}" if lines else "Chromium ended"


class ChromiumPage:
    """A page of a Chromium."""

    def __init__(self, chromium: Chromium, target: str, session: str, address: str) -> None:
        self._chromium = chromium
        self._target = target
        self._session = session
        self._address = address

    def open(self) -> None:
        """Open its address, and wait until it is there. Raises Permanent."""
        found = self._chromium.call("Page.navigate", self._session, url=self._address)
        if "errorText" in found:
            raise Permanent(f"Chromium cannot open {self._address}: {found['errorText']}")
        ends = time.monotonic() + ANSWER_SECONDS
        while not self.run(_THERE):
            if time.monotonic() > ends:
                raise Permanent(f"Chromium did not open {self._address} within {ANSWER_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """Close it. Raises Permanent."""
        self._chromium.call("Target.closeTarget", targetId=self._target)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; that of a promise is awaited. Raises Permanent for what it throws."""
        found = self._chromium.call(
            "Runtime.evaluate", self._session, expression=expression, awaitPromise=True, returnByValue=True
        )
        if thrown := found.get("exceptionDetails"):
            words = thrown.get("exception", {}).get("description") or thrown.get("text", "")
            raise Permanent(words.splitlines()[0].removeprefix("Error: ") if words else "the page broke")
        return found["result"].get("value")
