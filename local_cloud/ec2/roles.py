"""Roles: their credentials and policies, for the guard in both processes of this cloud."""

from collections.abc import Callable
from datetime import UTC
from typing import Any

from moto.iam.models import iam_backends
from moto.sts.models import STSBackend

from local_cloud import ACCOUNT, points
from local_cloud.guard.sessions import RoleSession, SessionKeys


def policy_documents() -> dict[str, list[str]]:
    """The policy documents (JSON texts) of each role: its own, and the managed ones that are attached."""
    return {
        role.name: [*role.policies.values(), *(_document(policy) for policy in role.managed_policies.values())]
        for role in iam_backends[ACCOUNT]["aws"].roles.values()
    }


def _document(policy: Any) -> str:
    """The text of the version in force."""
    return next(str(one.document) for one in policy.versions if one.version_id == policy.default_version_id)


def connect(sessions: SessionKeys) -> None:
    """Replace moto's function, once in a process."""

    def assume_role(original: Callable[..., Any]) -> Callable[..., Any]:
        def assume(backend: Any, **asked: Any) -> Any:
            made = original(backend, **asked)
            expires_at = made.expiration.replace(tzinfo=UTC).timestamp()
            role = made.role_arn.rpartition("/")[2]
            session = RoleSession(made.access_key_id, role, made.session_name, expires_at)
            made.secret_access_key, made.session_token = sessions.issue(session)
            return made

        return assume

    points.replace(STSBackend, "assume_role", assume_role)
