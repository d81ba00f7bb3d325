"""Who calls: this cloud's owner, or an instance in its role."""

from dataclasses import dataclass

from local_cloud import ACCOUNT
from local_cloud.guard.keys import CloudKeys
from local_cloud.guard.refusal import Refused
from local_cloud.guard.sessions import SessionKeys


@dataclass(frozen=True, repr=False)
class Caller:
    """Who calls. role: the role's name; None is the owner, who may do everything."""

    secret_access_key: str
    role: str | None = None
    session: str = ""

    @property
    def arn(self) -> str:
        if self.role is None:
            return f"arn:aws:iam::{ACCOUNT}:root"
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.role}/{self.session}"


class Callers:
    """Finds the caller of an access key. other_names: further access key ids of the owner, with the same secret."""

    def __init__(self, keys: CloudKeys, sessions: SessionKeys, other_names: frozenset[str] = frozenset()) -> None:
        self._owner = Caller(keys.secret_access_key)
        self._owners_names = {keys.access_key_id} | other_names
        self._sessions = sessions

    def find(self, access_key_id: str, token: str) -> Caller:
        """The caller with these credentials. Raises Refused."""
        if access_key_id in self._owners_names:
            if token:
                raise Refused("InvalidToken", "The security token included in the request is of another access key")
            return self._owner
        if token:
            session, secret = self._sessions.check(access_key_id, token)
            return Caller(secret, session.role, session.name)
        raise Refused("InvalidClientTokenId", "The security token included in the request is invalid")
