"""The key pair of this cloud's owner, and the secret that role credentials are made from."""

import base64
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

ACCESS_KEY_ID = "LOCAL_CLOUD_ACCESS_KEY_ID"
SECRET_ACCESS_KEY = "LOCAL_CLOUD_SECRET_ACCESS_KEY"
SESSION_SECRET = "LOCAL_CLOUD_SESSION_SECRET"


@dataclass(frozen=True, repr=False)
class CloudKeys:
    """The owner may do everything. Whoever knows `session_secret` can make credentials of any role."""

    access_key_id: str
    secret_access_key: str
    session_secret: str

    @classmethod
    def take(cls) -> "CloudKeys":
        """Take the keys from this process's environment and remove them there; make at random what is missing.

        A restarted cloud is given the keys of its first start: programs that run keep theirs.
        """
        return cls(
            os.environ.pop(ACCESS_KEY_ID, "") or f"AKIA{_letters(16)}",
            os.environ.pop(SECRET_ACCESS_KEY, "") or secrets.token_urlsafe(30),
            os.environ.pop(SESSION_SECRET, "") or secrets.token_urlsafe(30),
        )

    def variables(self) -> Mapping[str, str]:
        """What `take` reads, for another process of this cloud."""
        return {
            ACCESS_KEY_ID: self.access_key_id,
            SECRET_ACCESS_KEY: self.secret_access_key,
            SESSION_SECRET: self.session_secret,
        }


def _letters(count: int) -> str:
    """Random capital letters and digits."""
    return base64.b32encode(secrets.token_bytes(count)).decode()[:count]
