"""Passwords as argon2id hashes: to try one costs 19 MiB of memory and some 20 ms, for us and for a thief."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shoal.errors import Permanent

SHORTEST = 10
LONGEST = 1_000  # characters: nobody's password, and enough to keep a computer busy

# The least that OWASP asks for: with more memory, a few that sign in at once would need a worker's share of a machine.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def hashed(password: str) -> str:
    """The hash of a new password. Raises Permanent when it is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Permanent(f"a password has {SHORTEST} to {LONGEST:,} characters; this one has {len(password):,}")
    return _HASHER.hash(password)


def is_right(kept: str | None, password: str) -> bool:
    """Whether `password` belongs to the hash `kept`. Without a hash it takes as long: nobody learns who is a user."""
    if len(password) > LONGEST:
        return False
    try:
        return _HASHER.verify(kept or _nobodys(), password) and kept is not None
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody has this password")
