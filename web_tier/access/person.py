"""Who sent a request."""

from __future__ import annotations

from dataclasses import dataclass

from flask import g

from web_tier.access.rights import Right
from web_tier.access.sessions import SignedSession

_FOUND = "shoal_person"


@dataclass(frozen=True, slots=True)
class Person:
    """Who sent a request, where people sign in.

    owner:   whose batches are theirs; empty for a guest, who has a share link.
    name:    as people read it.
    session: None for a program with a key, and for a guest.
    """

    owner: str
    name: str
    rights: frozenset[Right]
    session: SignedSession | None = None

    def may(self, right: Right) -> bool:
        """Whether they have a right."""
        return right in (Right.NOTHING, Right.SIGNED_IN) or right in self.rights


GUEST = Person("", "", frozenset({Right.READ}))


def current() -> Person | None:
    """Who sent the current request; None where nobody signs in, and on routes that are open to all."""
    found: Person | None = g.get(_FOUND)
    return found


def remember(person: Person) -> None:
    """Note who sent the current request."""
    setattr(g, _FOUND, person)
