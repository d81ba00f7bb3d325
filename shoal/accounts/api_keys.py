"""API keys: how programs say who they are. A key is shown once; what is kept is its hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from shoal.accounts import records
from shoal.errors import Permanent
from shoal.ports import Clock, ObjectStore

SCOPES = ("label", "read", "operate")
KIND = "keys"
USES = "key-uses"  # when each key was used last, beside the keys: so that a use never brings a revoked key back

_PREFIX = "shoal_"
_FORM = re.compile(r"shoal_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key.

    owner:        whose batches it makes and reads: a user's id, or the key's own.
    user:         the name of that user; empty when the key stands for itself.
    made_at, used_at: seconds since 1970; used_at is up to a minute old, 0 before the first use.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    owner: str
    user: str
    secret_hash: str
    made_at: float
    used_at: float = 0.0


class ApiKeys:
    """All keys. Every method may raise Retryable."""

    def __init__(self, outputs: ObjectStore, clock: Clock) -> None:
        self._outputs = outputs
        self._clock = clock

    def add(self, name: str, scopes: Collection[str], user: str = "", owner: str = "") -> tuple[ApiKey, str]:
        """Make a key. Returns it and its text, which nobody can have again. Raises Permanent for wrong values."""
        if not scopes or not set(scopes) <= set(SCOPES):
            raise Permanent(f"a key has one or more of the scopes {', '.join(SCOPES)}")
        if not name.strip() or len(name) > records.LONGEST_NAME:
            raise Permanent(f"a key has a name of at most {records.LONGEST_NAME} characters: what it is for")
        number, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        ordered = tuple(one for one in SCOPES if one in scopes)
        key = ApiKey(number, name.strip(), ordered, owner or f"k-{number}", user, _hash(secret), self._clock.now())
        record = {
            "name": key.name,
            "scopes": list(key.scopes),
            "owner": key.owner,
            "user": key.user,
            "hash": key.secret_hash,
            "made_at": key.made_at,
        }
        records.write(self._outputs, records.place(KIND, key.id), record)
        return key, f"{_PREFIX}{number}_{secret}"

    def find(self, text: str) -> ApiKey | None:
        """The key with this text, or None."""
        form = _FORM.fullmatch(text)
        key = self._read(form[1]) if form else None
        right = key is not None and form is not None and hmac.compare_digest(key.secret_hash, _hash(form[2]))
        return key if right else None

    def used(self, key: ApiKey) -> None:
        """Note that a key is used now."""
        records.write(self._outputs, records.place(USES, key.id), {"at": self._clock.now()})

    def all(self) -> list[ApiKey]:
        """All keys, the oldest first."""
        found = [self._read(number) for number in records.names(self._outputs, KIND)]
        return sorted((key for key in found if key is not None), key=lambda key: key.made_at)

    def revoke(self, number: str) -> ApiKey:
        """Delete a key by its id. Raises Permanent for an unknown one."""
        key = self._read(number)
        if key is None:
            raise Permanent(f"there is no key {number[:40]!r}: `shoal keys list` shows all with their ids")
        self._outputs.delete(records.place(KIND, key.id))
        self._outputs.delete(records.place(USES, key.id))
        return key

    def _read(self, number: str) -> ApiKey | None:
        found = (
            records.read(self._outputs, records.place(KIND, number)) if re.fullmatch("[0-9a-f]{12}", number) else None
        )
        if found is None:
            return None
        use = records.read(self._outputs, records.place(USES, number)) or {}
        return _key(number, found, use.get("at", 0.0))


def _key(number: str, found: dict[str, Any], used_at: Any) -> ApiKey | None:
    """A key from its record; None for a record that is not ours."""
    try:
        texts = [str(found[field]) for field in ("name", "owner", "user", "hash")]
        scopes = tuple(one for one in SCOPES if one in list(found["scopes"]))
        name, owner, user, secret_hash = texts
        return ApiKey(number, name, scopes, owner, user, secret_hash, float(found["made_at"]), float(used_at))
    except (KeyError, TypeError, ValueError):
        return None


def _hash(secret: str) -> str:
    """256 random bits cannot be guessed, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()
