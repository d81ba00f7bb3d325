"""Sessions: a random token in a cookie, and a record in the output bucket that ends it for good.

The record has the hash of the token, so a reader of the bucket cannot sign in. Each session rests on something: the
operator's secret, or the stamp of a user. The record holds no form of that but an HMAC with the token as its key, so a
secret cannot be guessed from it, and a session ends when what it rests on changes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shoal.buckets import passing_records
from shoal.errors import MalformedMessage, NotFound
from shoal.ports import Clock, ObjectStore
from shoal.safe_json import read_object

LASTS_SECONDS = 12 * 3600.0

_TOKEN_BYTES = 32

Basis = Callable[[Mapping[str, str]], str]
"""Who has a session -> what it rests on; empty when they may have none any more. May raise Retryable."""


@dataclass(frozen=True, slots=True)
class SignedSession:
    """A session. token: what its cookie holds. who: whose it is, as its `start` was told."""

    token: str
    who: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def form_token(self) -> str:
        """The token in the forms of its pages. Another site cannot know it (CSRF)."""
        return _proof(self.token, "form")


class Sessions:
    """All sessions. Every method may raise Retryable."""

    def __init__(self, outputs: ObjectStore, clock: Clock, basis: Basis) -> None:
        self._outputs = outputs
        self._clock = clock
        self._basis = basis

    def start(self, who: Mapping[str, str]) -> SignedSession:
        """Start a session."""
        session = SignedSession(secrets.token_urlsafe(_TOKEN_BYTES), who)
        proof, ends = _proof(session.token, self._basis(session.who)), self._clock.now() + LASTS_SECONDS
        self._write(session, {"ends": ends, "proof": proof, "told": [], "who": dict(session.who)})
        return session

    def find(self, token: str) -> SignedSession | None:
        """The session of a cookie, or None if it has ended."""
        found = self._read(token)
        return None if found is None else SignedSession(token, _who(found))

    def end(self, session: SignedSession) -> None:
        """End a session: its cookie is worth nothing from now on."""
        self._outputs.delete(_key(session.token))

    def tell(self, session: SignedSession, text: str) -> None:
        """Keep a text for the next page of the session. It makes no session last longer, and begins none that ended."""
        found = self._read(session.token)
        if found is not None:
            self._write(session, {**found, "told": [text]})

    def told(self, session: SignedSession) -> list[str]:
        """The text that was kept, once."""
        found = self._read(session.token) or {}
        texts = found.get("told", [])
        if texts:
            self._write(session, {**found, "told": []})
        return [str(text) for text in texts]

    def _write(self, session: SignedSession, record: Mapping[str, Any]) -> None:
        self._outputs.put(_key(session.token), json.dumps(dict(record)).encode(), "application/json")

    def _read(self, token: str) -> dict[str, Any] | None:
        if not token:
            return None
        try:
            record = read_object(self._outputs.get(_key(token)))
            proof, ends = str(record["proof"]), float(record["ends"])
        except (NotFound, MalformedMessage, KeyError, TypeError, ValueError):
            return None
        basis = self._basis(_who(record))
        right = bool(basis) and hmac.compare_digest(proof.encode(), _proof(token, basis).encode())
        return dict(record) if right and self._clock.now() < ends else None


def _who(record: Mapping[str, Any]) -> dict[str, str]:
    found = record.get("who")
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _key(token: str) -> str:
    return f"{passing_records.SESSIONS}/{hashlib.sha256(_bytes(token)).hexdigest()}"


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # a client may send anything as its cookie


def _proof(token: str, text: str) -> str:
    return hmac.new(_bytes(token), _bytes(text), "sha256").hexdigest()
