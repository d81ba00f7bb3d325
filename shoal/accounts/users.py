"""The users who sign in with a password."""

from __future__ import annotations

import re
import secrets
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

from shoal.accounts import passwords, records
from shoal.errors import Permanent
from shoal.ports import ObjectStore

KIND = "users"
OPERATOR = "operator"  # signs in with SHOAL_OPERATOR_SECRET and is no user
ROLES = ("user", OPERATOR)
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")

Role = Literal["user", "operator"]


@dataclass(frozen=True, slots=True)
class User:
    """A user.

    id:    whose batches are theirs. A name that was removed and added again is somebody else.
    stamp: changes with the password and the role: all sessions end then.
    """

    name: str
    id: str
    role: Role
    password_hash: str
    stamp: str


def checked_name(text: str) -> str:
    """The name of a user as it is kept: small letters. Raises Permanent for a wrong one."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise Permanent(f"{text[:80]!r} is no user's name: letters, digits and ._@+-, at most {records.LONGEST_NAME}")
    if name == OPERATOR:
        raise Permanent("operator is the name of those who sign in with SHOAL_OPERATOR_SECRET: choose another")
    return name


class Users:
    """All users. Every method may raise Retryable."""

    def __init__(self, outputs: ObjectStore) -> None:
        self._outputs = outputs

    def add(self, name: str, password: str, role: Role = "user") -> User:
        """Add a user. Raises Permanent for a wrong name or password, or when there is such a user."""
        user = User(checked_name(name), f"u-{secrets.token_hex(6)}", role, passwords.hashed(password), _stamp())
        if not records.write_new(self._outputs, _key(user.name), asdict(user)):
            raise Permanent(f"there is a user {user.name}: `shoal users password {user.name}` changes the password")
        return user

    def find(self, name: str) -> User | None:
        """The user with a name, or None."""
        found = records.read(self._outputs, _key(name)) if _NAME.fullmatch(name) else None
        return None if found is None else _user(name, found)

    def all(self) -> list[User]:
        """All users, by name."""
        found = (self.find(name) for name in records.names(self._outputs, KIND))
        return [user for user in found if user is not None]

    def set_password(self, name: str, password: str) -> None:
        """Change a password, and end the user's sessions. Raises Permanent for an unknown user or a wrong password."""
        user = replace(self._known(name), password_hash=passwords.hashed(password), stamp=_stamp())
        records.write(self._outputs, _key(user.name), asdict(user))

    def remove(self, name: str) -> None:
        """Remove a user; sessions and keys end with it, batches stay. Raises Permanent for an unknown one."""
        self._outputs.delete(_key(self._known(name).name))

    def signed(self, name: str, password: str) -> User | None:
        """The user with this name and password, or None."""
        user = self.find(name.strip().lower())
        return user if passwords.is_right(user.password_hash if user else None, password) else None

    def _known(self, name: str) -> User:
        user = self.find(name.strip().lower())
        if user is None:
            raise Permanent(f"there is no user {name[:80]!r}: `shoal users list` shows all")
        return user


def _user(name: str, found: dict[str, Any]) -> User | None:
    """A user from its record; None for a record that is not ours."""
    texts = [found.get(field) for field in ("id", "role", "password_hash", "stamp")]
    if not all(isinstance(text, str) and text for text in texts) or found["role"] not in ROLES:
        return None
    return User(name, *cast("tuple[str, Role, str, str]", tuple(texts)))


def _key(name: str) -> str:
    return records.place(KIND, name)


def _stamp() -> str:
    return secrets.token_hex(16)
