"""The policies of all roles: a file that the process with IAM's books writes, and both processes read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ministack.core.iam_evaluator import ParsedStatement, parse_policy_document

Documents = Mapping[str, Sequence[str]]
"""Policy documents (JSON texts) by the name of the role."""


class PolicyFile:
    """Writes the policies of all roles and reads them again when they have changed. Safe for many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._parsed: dict[str, list[list[ParsedStatement]]] = {}

    def write(self, documents: Documents) -> None:
        """Replace the file in one step. Who asks after this sees the new policies."""
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(documents))
        draft.replace(self._path)

    def of(self, role: str) -> list[list[ParsedStatement]]:
        """The statements of each policy of a role; empty for an unknown role."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return []
        version = status.st_ino, status.st_mtime_ns
        if version != self._seen:
            found = json.loads(self._path.read_text())
            self._parsed = {name: [parse_policy_document(text) for text in texts] for name, texts in found.items()}
            self._seen = version
        return self._parsed.get(role, [])
