"""The operator's sessions: a random token in a cookie, and a record in the output bucket that ends it for good.

The record has the hash of the token, so a reader of the bucket cannot sign in. It holds no form of the secret but an
HMAC with the token as its key, so the secret cannot be guessed from it, and a new secret ends all sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any

from shoal.buckets import passing_records
from shoal.errors import MalformedMessage, NotFound
from shoal.ports import Clock, ObjectStore
from shoal.safe_json import read_object

LASTS_SECONDS = 12 * 3600.0

_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """A session of the operator. token: what its cookie holds."""

    token: str

    @property
    def form_token(self) -> str:
        """The token in the forms of its pages. Another site cannot know it (CSRF)."""
        return _proof(self.token, "form")


class OperatorSessions:
    """All sessions with one secret. Every method may raise Retryable."""

    def __init__(self, outputs: ObjectStore, clock: Clock, secret: str) -> None:
        self._outputs = outputs
        self._clock = clock
        self._secret = secret

    def start(self) -> OperatorSession:
        """Start a session."""
        session = OperatorSession(secrets.token_urlsafe(_TOKEN_BYTES))
        self._write(session, [])
        return session

    def find(self, token: str) -> OperatorSession | None:
        """The session of a cookie, or None if it has ended."""
        return None if self._read(token) is None else OperatorSession(token)

    def end(self, session: OperatorSession) -> None:
        """End a session: its cookie is worth nothing from now on."""
        self._outputs.delete(_key(session.token))

    def tell(self, session: OperatorSession, text: str) -> None:
        """Keep a text for the next page of the session."""
        self._write(session, [text])

    def told(self, session: OperatorSession) -> list[str]:
        """The text that was kept, once."""
        texts = (self._read(session.token) or {}).get("told", [])
        if texts:
            self._write(session, [])
        return [str(text) for text in texts]

    def _write(self, session: OperatorSession, told: list[str]) -> None:
        proof, ends = _proof(session.token, self._secret), self._clock.now() + LASTS_SECONDS
        record = {"ends": ends, "proof": proof, "told": told}
        self._outputs.put(_key(session.token), json.dumps(record).encode(), "application/json")

    def _read(self, token: str) -> dict[str, Any] | None:
        if not token:
            return None
        try:
            record = read_object(self._outputs.get(_key(token)))
            proof, ends = str(record["proof"]), float(record["ends"])
        except (NotFound, MalformedMessage, KeyError, TypeError, ValueError):
            return None
        whole = hmac.compare_digest(proof.encode(), _proof(token, self._secret).encode())
        return dict(record) if whole and self._clock.now() < ends else None


def _key(token: str) -> str:
    return f"{passing_records.SESSIONS}/{hashlib.sha256(_bytes(token)).hexdigest()}"


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # a client may send anything as its cookie


def _proof(token: str, text: str) -> str:
    return hmac.new(_bytes(token), _bytes(text), "sha256").hexdigest()
