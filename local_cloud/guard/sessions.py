"""Temporary credentials of a role that need not be stored.

The session token is a signed text that names the role; the secret key follows from the token. So each process of this
cloud that knows the session secret can check credentials that another one has issued.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass

from local_cloud.guard.refusal import Refused


@dataclass(frozen=True)
class RoleSession:
    """The credentials of a role. expires_at: seconds since 1970."""

    access_key_id: str
    role: str
    name: str
    expires_at: float


class SessionKeys:
    """Issues and checks the credentials of roles."""

    def __init__(self, secret: str, now: Callable[[], float]) -> None:
        self._secret = secret.encode()
        self._now = now

    def issue(self, session: RoleSession) -> tuple[str, str]:
        """The secret access key and the session token."""
        fields = [session.access_key_id, session.role, session.name, session.expires_at]
        text = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
        token = f"{text}.{self._sign('token', text)}"
        return self._sign("key", token), token

    def check(self, access_key_id: str, token: str) -> tuple[RoleSession, str]:
        """The session and its secret access key. Raises Refused."""
        text, _, signature = token.partition(".")
        if not hmac.compare_digest(self._sign("token", text).encode(), signature.encode()):
            raise Refused("InvalidToken", "The security token included in the request is invalid")
        session = RoleSession(*json.loads(base64.urlsafe_b64decode(text)))
        if session.access_key_id != access_key_id:
            raise Refused("InvalidToken", "The security token included in the request is of another access key")
        if session.expires_at <= self._now():
            raise Refused("ExpiredTokenException", "The security token included in the request is expired")
        return session, self._sign("key", token)

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._secret, f"{purpose} {text}".encode(), hashlib.sha256).hexdigest()
