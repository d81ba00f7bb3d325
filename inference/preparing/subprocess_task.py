"""A process of its own for work that is heavy: TensorFlow lives and dies there, and its chatter is kept apart.

The parent calls `ask`, the child's main is `answer`. The child writes a line of JSON for every step, whatever fields it
likes, and at the end {"done": {...}} or {"error": text, "kind": a class of shoal.errors}.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from shoal.errors import Permanent, Retryable, ShoalError

Tell = Callable[..., None]  # the fields of a line, by name

_ROOT = Path(__file__).parents[2]


def ask(module: str, request: str, listen: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run `python -m module request`, pass its steps on, return what is done. Raises what the child raised.

    When this is left early, by a Ctrl-C for one, the child is ended at once, with all that it started.
    """
    with tempfile.TemporaryFile() as log:
        # A session of its own: what it starts can be ended with it, and the terminal's Ctrl-C comes to us alone.
        child = subprocess.Popen(
            [sys.executable, "-m", module, request],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=_ROOT,  # where Python finds this package
            start_new_session=True,
        )
        with child:
            try:
                for line in child.stdout or ():
                    fields = json.loads(line)
                    if "error" in fields:
                        raise (Retryable if fields["kind"] == "Retryable" else Permanent)(fields["error"])
                    if "done" in fields:
                        done: dict[str, Any] = fields["done"]
                        return done
                    listen(fields)
                child.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
        raise Permanent(f"the process that was at work ended: {_last_words(child.returncode, log)}")


def answer(work: Callable[[str, Tell], dict[str, Any]]) -> None:
    """Do `work` with the request, which is told steps as named fields, and write what comes of it."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _end_with_parent()

    def tell(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    try:
        done = work(sys.argv[1], tell)
    except ShoalError as error:
        tell(error=str(error), kind="Retryable" if isinstance(error, Retryable) else "Permanent")
    except OSError as error:
        tell(error=f"{error.strerror or error} ({error.filename or 'no file is named'})", kind="Permanent")
    else:
        tell(done=done)


def _end_with_parent() -> None:
    """The parent holds the other end of the standard input: when that closes, the parent is dead, and its lock gone."""

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin: its lock, held by a daemon thread, would abort the interpreter's shutdown
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _last_words(status: int, log: IO[bytes]) -> str:
    if status < 0:
        return f"by signal {-status}; it may need more memory than there is"
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), f"with status {status}")
