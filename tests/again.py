"""`python -m tests.again`: runs the tests that just failed once more, one after another and with nothing beside them.

Some thousand tests run four at a time on two processors, and many start a whole Shoal. One that fails there and passes
alone has met the load of the others: it is named, to be mended, and does not stop the rest. One that fails again does,
and so do more than MOST failures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MOST = 3
FAILED = Path(".pytest_cache/v/cache/lastfailed")


def main() -> int:
    """Returns the exit status: 0 when all of them pass."""
    failed = list(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if not 0 < len(failed) <= MOST:
        return 1
    say = sys.stdout.write
    say("\nThese failed beside others, and run again alone:\n" + "".join(f"  {one}\n" for one in failed))
    sys.stdout.flush()
    status = subprocess.run([sys.executable, "-m", "pytest", "-n", "0", *failed], check=False).returncode
    if not status:
        say("They passed alone: they depend on what runs beside them. Mend them.\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
