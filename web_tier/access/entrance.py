"""Finds out who somebody is, where people sign in: by password, by the session that followed, or by an API key."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

from shoal.accounts.api_keys import ApiKey, ApiKeys
from shoal.accounts.owned_batches import OwnedBatches
from shoal.accounts.users import OPERATOR, User, Users
from shoal.errors import Retryable
from shoal.ports import Clock, ObjectStore
from shoal.settings import Settings
from web_tier.access.person import Person
from web_tier.access.recently import Recently
from web_tier.access.rights import SCOPES, Right
from web_tier.access.sessions import Sessions, SignedSession
from web_tier.problems import Problem

if TYPE_CHECKING:
    from web_tier.access.oidc import Provider

log = logging.getLogger(__name__)

TRIED_AT_ONCE = 2  # passwords: each takes a core and 19 MiB
WAIT_SECONDS = 10.0
NOTE_SECONDS = 60.0  # between two notes that a key is used

_USERS = frozenset({Right.LABEL, Right.READ})


class Entrance:
    """Who may come in, and the batches that are theirs. Safe for many threads; every method may raise Retryable."""

    def __init__(self, settings: Settings, outputs: ObjectStore, clock: Clock) -> None:
        self._secret = settings.operator_secret
        self.signs_in = settings.signs_in
        self._settings = settings
        self.provider = _provider(settings)
        self.users = Users(outputs)
        self.sessions = Sessions(outputs, clock, self._basis)
        self.batches = OwnedBatches(outputs)
        self._trying = threading.BoundedSemaphore(TRIED_AT_ONCE)
        self.own_key = secrets.token_urlsafe(32)  # with which this process calls itself
        self._keys = ApiKeys(outputs, clock)
        self._clock = clock
        self._noted: dict[str, float] = {}  # key -> when its use was noted
        self._by_key = Recently(self._keys.find)
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

    def may_come_in(self, who: Mapping[str, str]) -> bool:
        """Whether somebody whom the provider knows may use this Shoal."""
        return bool(self._rights_by_provider(who))

    def by_session(self, token: str) -> Person | None:
        """Who has the session of a cookie. A session that another process ended may last five seconds more."""
        return self._by_session(token) if token else None

    def by_key(self, text: str) -> Person | None:
        """Who has an API key. A key that was revoked may last five seconds more."""
        if hmac.compare_digest(_digest(text), _digest(self.own_key)):
            return Person(OPERATOR, OPERATOR, frozenset(SCOPES))
        key = self._by_key(text)
        if key is None or not self._still_has(key):
            return None
        self._note_use(key)
        return Person(key.owner, key.name, frozenset(Right(scope) for scope in key.scopes))

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

    def _still_has(self, key: ApiKey) -> bool:
        """Whether the key is of no user, or of one who is still there."""
        return not key.user or self._user({"user": key.user, "id": key.owner}) is not None

    def _note_use(self, key: ApiKey) -> None:
        now = self._clock.now()
        if now - self._noted.get(key.id, key.used_at) < NOTE_SECONDS:
            return
        self._noted[key.id] = now
        try:
            self._keys.used(key)
        except Retryable as error:  # a request does not fail for this
            log.warning("the use of the key %s was not noted: %s", key.id, error)

    def _find(self, token: str) -> Person | None:
        session = self.sessions.find(token)
        if session is None:
            return None
        if "oidc" in session.who:
            return self._by_provider(session)
        if "user" not in session.who:
            return Person(OPERATOR, OPERATOR, frozenset(SCOPES), session)
        user = self._user(session.who)
        return None if user is None else _person(user, session)

    def _basis(self, who: Mapping[str, str]) -> str:
        if "oidc" in who:
            known = self._settings.oidc_issuer and self._rights_by_provider(who)
            return f"{self._settings.oidc_issuer} {self._settings.oidc_client_id}" if known else ""
        if "user" not in who:
            return self._secret
        user = self._user(who)
        return user.stamp if user else ""

    def _by_provider(self, session: SignedSession) -> Person | None:
        """Who signed in at the provider: the same person by its id there, whatever its name and address become."""
        rights = self._rights_by_provider(session.who)
        owner = sha256(f"{self._settings.oidc_issuer}\n{session.who['oidc']}".encode()).hexdigest()[:24]
        return Person(f"o-{owner}", session.who.get("name", ""), rights, session) if rights else None

    def _rights_by_provider(self, who: Mapping[str, str]) -> frozenset[Right]:
        if _is_named(who, self._settings.oidc_operator_names):
            return frozenset(SCOPES)
        return _USERS if _is_named(who, self._settings.oidc_user_names) else frozenset()

    def _user(self, who: Mapping[str, str]) -> User | None:
        user = self.users.find(who["user"])
        return user if user is not None and user.id == who.get("id") else None


def _person(user: User, session: SignedSession) -> Person:
    rights = frozenset(SCOPES) if user.role == OPERATOR else _USERS
    return Person(user.id, user.name, rights, session)


def _provider(settings: Settings) -> Provider | None:
    if not settings.signs_in or not settings.oidc_issuer:
        return None
    from web_tier.access.oidc import Provider

    return Provider(settings)


def _is_named(who: Mapping[str, str], names: Collection[str]) -> bool:
    """Whether a person is among `names`: by a verified address, its domain, the id at the provider, or `*` for all."""
    email, subject = who.get("email", ""), who.get("oidc", "")
    if subject and ("*" in names or subject in names):
        return True
    own = {email, f"@{email.rpartition('@')[2]}"} if "@" in email else set()
    return any(name.lower() in own for name in names)


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()
