"""What AWS says when it refuses, in words that tell what to do. Pure."""

from __future__ import annotations

import re

POLICY = "`shoal plan --policy FOLDER` writes all permissions that a person needs"
_DENIED = re.compile(r"not authorized to perform:? (?P<action>[\w:*-]+)(?: on resource:? (?P<resource>\S+))?")
_QUOTA = (
    "the account may run no more vCPUs of this kind: ask for more under Service Quotas, EC2, `Running On-Demand ...`"
)
_OTHERS = (
    "something of this name is there already and is not the stack's (`shoal prepare` makes such things, and bucket"
)
_OTHERS += " names are worldwide): set SHOAL_PREFIX to another prefix, or remove it"
_KNOWN = (
    (re.compile("VcpuLimitExceeded|InstanceLimitExceeded|quota.*vCPU", re.I), _QUOTA),
    (
        re.compile(r"BucketAlreadyExists|BucketAlreadyOwnedByYou|AlreadyExists|already exists", re.I),
        _OTHERS,
    ),
    (
        re.compile(r"not supported in your requested Availability Zone|Unsupported\b", re.I),
        "this zone does not offer the type: name other --subnets, or another type (SHOAL_INSTANCE_TYPE, --page-type)",
    ),
    (re.compile("ExpiredToken|security token .* expired", re.I), "the credentials have expired: sign in again"),
)


def explained(reason: str) -> str:
    """The reason that AWS gave, and what to do about it where that is known."""
    denied = _DENIED.search(reason)
    if denied:
        on = f" on {denied['resource']}" if denied["resource"] else ""
        return f"not permitted: {denied['action']}{on}. {POLICY}"
    for pattern, advice in _KNOWN:
        if pattern.search(reason):
            return reason if advice in reason else f"{reason} - {advice}"
    return reason
