"""Runs heavy work, such as TensorFlow's, in a child process: its memory is freed and its log lines are kept apart.

The parent calls `ask`, the child's main calls `answer`. The child writes a line of JSON with fields of its choice for
each step, and at the end {"done": {...}} or {"error": text, "kind": a class of shoal.errors}.
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
    """Run `python -m module request`, pass its steps to `listen`, and return its result. Raises the child's error.

    If this call ends early, for example by a Ctrl-C, the child and its children are killed at once.
    """
    # TensorFlow leaves files in the folder for temporary files, so the child has one of its own.
    with (
        tempfile.TemporaryDirectory(prefix="shoal-", ignore_cleanup_errors=True) as temporary,
        tempfile.TemporaryFile() as log,
    ):
        # In its own session its children can be killed with it, and a Ctrl-C reaches only the parent.
        child = subprocess.Popen(
            [sys.executable, "-m", module, request, temporary],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=_ROOT,  # Python finds this package there
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
        raise Permanent(f"the child process ended early: {_last_words(child.returncode, log)}")


def answer(work: Callable[[str, Tell], dict[str, Any]]) -> None:
    """Call `work` with the request and a function that reports steps, and write its result or its error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tempfile.tempdir = sys.argv[2]
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
    """Kill this process group when the standard input closes: the parent that held it is dead then."""

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
