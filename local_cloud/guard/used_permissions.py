"""Which statements of which policies have allowed something: what AWS calls the last use of a permission."""

import json
import threading
from pathlib import Path


class UsedPermissions:
    """Adds a line to a file for each role, action and statement that is new. Safe for threads; a file for a process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[tuple[str, str, str]] = set()
        self._adding = threading.Lock()

    def note(self, role: str, action: str, statement: str) -> None:
        """The statement's Sid has allowed a call of the role."""
        found = role, action, statement
        if found in self._known:
            return
        with self._adding:
            if found not in self._known:
                self._known.add(found)
                with self._path.open("a") as file:
                    file.write(json.dumps({"role": role, "action": action, "statement": statement}) + "\n")
