"""The workers' role: what an instance may do. No keys are stored on instances."""

from __future__ import annotations

import json
from typing import Any

from shoal.aws.clients import our_errors
from shoal.errors import NotFound
from shoal.folders import folder

POLICY = folder("ami") / "worker-policy.json"
POLICY_NAME = "shoal-worker"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def create_role(iam: Any, name: str, prefix: str) -> None:
    """Make the role and its instance profile, or update our policy. A role of the operator's own is not changed."""
    policy = {
        "RoleName": name,
        "PolicyName": POLICY_NAME,
        "PolicyDocument": POLICY.read_text().replace("@PREFIX@", prefix),
    }
    try:
        with our_errors(f"instance profile {name}"):
            iam.get_instance_profile(InstanceProfileName=name)
    except NotFound:
        _create(iam, name, prefix, policy)
        return
    try:
        with our_errors(f"role policy of {name}"):
            iam.get_role_policy(RoleName=name, PolicyName=POLICY_NAME)
            iam.put_role_policy(**policy)
    except NotFound:
        return  # the operator's own role, named by SHOAL_INSTANCE_PROFILE


def _create(iam: Any, name: str, prefix: str, policy: dict[str, str]) -> None:
    with our_errors(f"create role {name}"):
        iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Description=f"Workers of the Shoal {prefix}"
        )
        iam.put_role_policy(**policy)
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
