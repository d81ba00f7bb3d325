"""Starts programs and writes program files, never both at the same time.

A process that is being started briefly inherits every file that the host holds open. While it holds a program file open
for writing, the kernel refuses to execute that file ("text file busy"). With many threads that launch, this happens.
"""

import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_lock = threading.Lock()


def start(arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen`, with its errors and options."""
    with _lock:
        return subprocess.Popen(arguments, **options)


def write(path: Path, content: bytes) -> None:
    """Write an executable file that only its owner can read and run."""
    with _lock, os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "wb") as file:
        file.write(content)
