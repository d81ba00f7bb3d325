"""Finds out who somebody is, where people sign in: by name and password, or by the session that followed."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Mapping
from hashlib import sha256

from shoal.accounts.owned_batches import OwnedBatches
from shoal.accounts.users import OPERATOR, User, Users
from shoal.ports import Clock, ObjectStore
from shoal.settings import Settings
from web_tier.access.person import Person
from web_tier.access.recently import Recently
from web_tier.access.rights import SCOPES, Right
from web_tier.access.sessions import Sessions, SignedSession
from web_tier.problems import Problem

TRIED_AT_ONCE = 2  # passwords: each takes a core and 19 MiB
WAIT_SECONDS = 10.0

_USERS = frozenset({Right.LABEL, Right.READ})


class Entrance:
    """Who may come in, and the batches that are theirs. Safe for many threads; every method may raise Retryable."""

    def __init__(self, settings: Settings, outputs: ObjectStore, clock: Clock) -> None:
        self._secret = settings.operator_secret
        self.signs_in = settings.signs_in
        self.users = Users(outputs)
        self.sessions = Sessions(outputs, clock, self._basis)
        self.batches = OwnedBatches(outputs)
        self._trying = threading.BoundedSemaphore(TRIED_AT_ONCE)
        self._by_session = Recently(self._find)
        self._owner = Recently(self.batches.owner)
        self._share = Recently(self.batches.shared)

    def password_is_right(self, name: str, password: str) -> dict[str, str] | None:
        """For whom a session may start, or None. Raises Problem (503) while many passwords are tried."""
        if name.strip().lower() == OPERATOR:
            right = bool(self._secret) and hmac.compare_digest(_digest(password), _digest(self._secret))
            return {} if right else None
        if not self._trying.acquire(timeout=WAIT_SECONDS):
            raise Problem(503, "Many people sign in at the moment. Please try again shortly.")
        try:
            user = self.users.signed(name, password)
        finally:
            self._trying.release()
        return None if user is None else {"user": user.name, "id": user.id}

    def by_session(self, token: str) -> Person | None:
        """Who has the session of a cookie. A session that another process ended may last five seconds more."""
        return self._by_session(token) if token else None

    def end(self, session: SignedSession) -> None:
        """Sign out."""
        self.sessions.end(session)
        self._by_session.forget(session.token)

    def owner(self, batch: str) -> str:
        """Whose a batch is; empty for nobody's."""
        found = self._owner(batch)
        if not found:
            self._owner.forget(batch)  # it may be made just now, by another process
        return found

    def is_shared(self, batch: str, token: str) -> bool:
        """Whether a share link of a batch has this token. A link that was revoked may last five seconds more."""
        right = self._share(batch) if token else ""
        return bool(right) and hmac.compare_digest(_digest(token), _digest(right))

    def share(self, batch: str) -> None:
        """Make a share link."""
        self.batches.share(batch)
        self._share.forget(batch)

    def unshare(self, batch: str) -> None:
        """Revoke the share link, in this process at once."""
        self.batches.unshare(batch)
        self._share.forget(batch)

    def _find(self, token: str) -> Person | None:
        session = self.sessions.find(token)
        if session is None:
            return None
        if "user" not in session.who:
            return Person(OPERATOR, OPERATOR, frozenset(SCOPES), session)
        user = self._user(session.who)
        return None if user is None else _person(user, session)

    def _basis(self, who: Mapping[str, str]) -> str:
        if "user" not in who:
            return self._secret
        user = self._user(who)
        return user.stamp if user else ""

    def _user(self, who: Mapping[str, str]) -> User | None:
        user = self.users.find(who["user"])
        return user if user is not None and user.id == who.get("id") else None


def _person(user: User, session: SignedSession) -> Person:
    rights = frozenset(SCOPES) if user.role == OPERATOR else _USERS
    return Person(user.id, user.name, rights, session)


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()
