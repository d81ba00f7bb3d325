"""Whether the policies of a caller's role allow what it asks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ministack.core.iam_actions import identity_denial_message
from ministack.core.iam_evaluator import EvalContext, evaluate

from local_cloud import ACCOUNT
from local_cloud.guard.callers import Caller
from local_cloud.guard.policies import PolicyFile
from local_cloud.guard.refusal import Refused
from local_cloud.guard.signatures import SignedRequest
from local_cloud.guard.used_permissions import UsedPermissions

# Allowed to everybody whose signature is valid, as on AWS.
ALWAYS = "sts:GetCallerIdentity"


@dataclass(frozen=True)
class NeededPermission:
    """One thing that a request needs a permission for.

    action:     as `s3:GetObject`; empty when the request cannot be understood, which no policy allows.
    resource:   its ARN, or `*`.
    conditions: what the request says about IAM's condition keys, names in small letters.
    """

    action: str
    resource: str = "*"
    conditions: Mapping[str, Any] = field(default_factory=dict)


NeedsOf = Callable[[SignedRequest], Iterable[NeededPermission]]
"""What a request needs permissions for."""


class Permissions:
    """NeedsOf the policies. The owner may do everything."""

    def __init__(self, policies: PolicyFile, needs_of: NeedsOf, region: str, used: UsedPermissions) -> None:
        self._policies = policies
        self._used = used
        self._needs_of = needs_of
        self._region = region

    def check(self, caller: Caller, request: SignedRequest) -> None:
        """Raises Refused when a policy denies a part of the request, or none allows it."""
        if caller.role is None:
            return
        policies = self._policies.of(caller.role)
        for needed in self._needs_of(request):
            if needed.action == ALWAYS:
                continue
            context = EvalContext(
                principal_arn=caller.arn,
                principal_type="AssumedRole",
                principal_account=ACCOUNT,
                action=needed.action,
                resource_arn=needed.resource.replace("\n", " "),  # ministack's `*` ends at a line break, AWS' does not
                region=self._region,
                service_context=dict(needed.conditions),
            )
            found = evaluate(context, policies)
            if not needed.action or found.decision != "Allow":
                explicit = found.decision == "Deny"
                raise Refused(
                    "AccessDenied", identity_denial_message(needed.action, caller.arn, needed.resource, explicit)
                )
            self._used.note(caller.role, needed.action, found.matched_sid)
